"""What clients are answered about the server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NewType

from msgspec import Meta, Struct

from nexus_core.domain.lifecycle import Status
from nexus_core.usecases import show_server
from nexus_http.wire.fields import Count, HostPort, moment, moment_or_null

Metrics = NewType("Metrics", str)
"""Every metric as text, in Prometheus's own format or as OpenMetrics."""


class Node(Struct, frozen=True):
    """A machine that workspaces run on; ``unreachable`` means unknown, not dead."""

    status: Literal["healthy", "unreachable"]
    provider: str
    last_heartbeat: datetime | None
    workspaces: Count

    @classmethod
    def of(cls, health: show_server.Health) -> dict[str, Node]:
        """Every node by its name."""
        beat = health.heartbeat
        status: Literal["healthy", "unreachable"] = "healthy" if beat.status.available else "unreachable"
        return {beat.status.node: cls(status, health.provider, moment_or_null(beat.last_seen), health.workspaces)}


class ServerHealth(Struct, frozen=True, kw_only=True):
    """Whether work can be done: ``degraded`` without a node, ``unavailable`` without a database to write."""

    status: Literal["ok", "degraded", "unavailable"]
    timestamp: datetime
    uptime_seconds: Count
    nodes: dict[str, Node]
    version: Annotated[str, Meta(examples=["1.0.0"])]

    @classmethod
    def of(cls, health: show_server.Health, version: str) -> ServerHealth:
        """The server's health as the API shows it."""
        return cls(
            status=health.status,
            timestamp=moment(health.at),
            uptime_seconds=health.uptime_seconds,
            nodes=Node.of(health),
            version=version,
        )


class Database(Struct, frozen=True):
    """The store in figures."""

    schema_version: int
    size_bytes: Count


class PortUse(Struct, frozen=True):
    """A range of host ports and how many of it are leased."""

    first: HostPort
    last: HostPort
    used: Count
    free: Count

    @classmethod
    def of(cls, use: show_server.PortUse) -> PortUse:
        """The range as the API shows it."""
        return cls(use.range.first, use.range.last, use.used, use.free)


class Ports(Struct, frozen=True):
    """The ranges by what they are for."""

    ssh: PortUse
    services: PortUse


class Operations(Struct, frozen=True):
    """Work that waits and work under way."""

    queued: Count
    running: Count


class Provider(Struct, frozen=True):
    """A technology that workspaces run on, and whether it answers."""

    available: bool
    version: str | None
    error: str | None


class ServerStatus(ServerHealth, frozen=True, kw_only=True):
    """Health and the figures of the whole server, without a name in it."""

    database: Database
    ports: Ports
    workspaces: dict[Status, Count]
    operations: Operations
    providers: dict[str, Provider]

    @classmethod
    def whole(cls, server: show_server.ServerStatus, version: str) -> ServerStatus:
        """The server's figures as the API shows them."""
        health, beat = server.health, server.health.heartbeat.status
        return cls(
            status=health.status,
            timestamp=moment(health.at),
            uptime_seconds=health.uptime_seconds,
            nodes=Node.of(health),
            version=version,
            database=Database(server.store.schema_version, server.store.size_bytes),
            ports=Ports(ssh=PortUse.of(server.ssh_ports), services=PortUse.of(server.service_ports)),
            workspaces=dict(server.workspaces),
            operations=Operations(server.queued, server.running),
            providers={health.provider: Provider(beat.available, beat.version, beat.error)},
        )
