"""How the whole server fares."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.engine.reconciler import Heartbeat, Reconciler
from nexus_core.errors import NexusError
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.store import Store, StoreStatus


@dataclass(frozen=True, slots=True)
class Health:
    """Whether work can be done: ``ok``, ``degraded`` (the node is away) or ``unavailable`` (no database)."""

    status: Literal["ok", "degraded", "unavailable"]
    at: datetime
    uptime_seconds: int
    provider: str
    heartbeat: Heartbeat
    workspaces: int


@dataclass(frozen=True, slots=True)
class PortUse:
    """A range of host ports and how many of it are leased."""

    range: PortRange
    used: int

    @classmethod
    def of(cls, which: PortRange, held: Collection[int]) -> PortUse:
        """Count what is held; a lease from before the range was changed is not of it."""
        return cls(which, sum(port in which for port in held))

    @property
    def free(self) -> int:
        return len(self.range) - self.used


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server in figures, without a name in it."""

    health: Health
    store: StoreStatus
    ssh_ports: PortUse
    service_ports: PortUse
    workspaces: dict[Status, int]
    queued: int
    running: int


class ShowServer:
    """Answers how the server is, from what is known already: it asks no provider and waits for nothing."""

    def __init__(
        self, *, store: Store, provider: WorkspaceProvider, reconciler: Reconciler, clock: Clock, policy: Policy
    ) -> None:
        self._store = store
        self._provider = provider
        self._reconciler = reconciler
        self._clock = clock
        self._policy = policy
        self._started = clock.monotonic()
        self._found_writable = -math.inf

    def health(self) -> Health:
        """How the server is; raises nothing for a database that is away, but says so."""
        heartbeat = self._reconciler.heartbeat
        status: Literal["ok", "degraded", "unavailable"] = "ok" if heartbeat.status.available else "degraded"
        workspaces = 0
        try:
            self._check_writable()
            with self._store.snapshot() as records:
                counts = records.workspaces.count_by_status()
            workspaces = sum(count for one, count in counts.items() if one is not Status.DELETED)
        except NexusError:
            status = "unavailable"
        uptime = int(self._clock.monotonic() - self._started)
        return Health(status, self._clock.now(), uptime, self._provider.kind, heartbeat, workspaces)

    def _check_writable(self) -> None:
        # The check writes to the disk and anybody may ask for it, so it counts for a second.
        now = self._clock.monotonic()
        if now - self._found_writable >= 1:
            self._store.check_writable()
            self._found_writable = now

    def __call__(self) -> ServerStatus:
        """The figures; raises `DatabaseBusy` or `StoreFailed` where the database is away."""
        return self._figures(self.health())

    def known(self) -> tuple[Health, ServerStatus | None]:
        """Health, and the figures where the database is not away; raises nothing for one that is."""
        health = self.health()
        try:
            return health, self._figures(health)
        except NexusError:
            return health, None

    def _figures(self, health: Health) -> ServerStatus:
        with self._store.snapshot() as records:
            counts = records.workspaces.count_by_status()
            ssh = PortUse.of(self._policy.ssh_ports, records.leases.held(PortKind.SSH))
            services = PortUse.of(self._policy.service_ports, records.leases.held(PortKind.SERVICE))
            queued, running = records.operations.count_unfinished()
        counts.pop(Status.DELETED, None)
        return ServerStatus(health, self._store.status(), ssh, services, counts, queued, running)
