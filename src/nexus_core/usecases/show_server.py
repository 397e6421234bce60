"""How the whole server fares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.engine.reconciler import Heartbeat, Reconciler
from nexus_core.errors import NexusError
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store, StoreStatus


@dataclass(frozen=True, slots=True)
class Health:
    """Whether work can be done: ``ok``, ``degraded`` (the node is away) or ``unavailable`` (no database)."""

    status: str
    at: datetime
    uptime_seconds: int
    heartbeat: Heartbeat
    workspaces: int


@dataclass(frozen=True, slots=True)
class PortUse:
    """A range of host ports and how many of it are leased."""

    range: PortRange
    used: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server in figures, without a name in it."""

    health: Health
    store: StoreStatus
    ssh_ports: PortUse
    workspaces: dict[Status, int]
    queued: int
    running: int


class ShowServer:
    """Answers how the server is, from what is known already: it asks no provider and waits for nothing."""

    def __init__(self, *, store: Store, reconciler: Reconciler, clock: Clock, policy: Policy) -> None:
        self._store = store
        self._reconciler = reconciler
        self._clock = clock
        self._policy = policy
        self._started = clock.monotonic()

    def health(self) -> Health:
        """How the server is; raises nothing for a database that is away, but says so."""
        heartbeat = self._reconciler.heartbeat
        status, workspaces = "ok" if heartbeat.status.available else "degraded", 0
        try:
            self._store.check_writable()
            with self._store.snapshot() as records:
                counts = records.workspaces.count_by_status()
            workspaces = sum(count for one, count in counts.items() if one is not Status.DELETED)
        except NexusError:
            status = "unavailable"
        uptime = int(self._clock.monotonic() - self._started)
        return Health(status, self._clock.now(), uptime, heartbeat, workspaces)

    def __call__(self) -> ServerStatus:
        """The figures; raises `DatabaseBusy` or `StoreFailed` where the database is away."""
        health = self.health()
        with self._store.snapshot() as records:
            counts = records.workspaces.count_by_status()
            used = len(records.leases.held(PortKind.SSH))
            queued, running = records.operations.count_unfinished()
        counts.pop(Status.DELETED, None)
        ports = PortUse(self._policy.ssh_ports, used)
        return ServerStatus(health, self._store.status(), ports, counts, queued, running)
