"""What the two comparisons of the records with the outside share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from nexus_core.domain.host_ports import Lease
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import Operation
from nexus_core.domain.service import Service
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.deadline import within
from nexus_core.errors import ProviderUnavailable
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.port_publisher import PortPublisher
from nexus_core.ports.provider import Instance, WorkspaceProvider
from nexus_core.ports.store import Records

LISTING: Final = 10.0
"""Seconds that a provider which answers has for its list."""

KEPT: Final = frozenset(Status) - {Status.DELETED}


class LookedAt(Protocol):
    """Records that are only read: a `Store`, or something that can do less."""

    @property
    def restored_at(self) -> datetime | None: ...

    def snapshot(self) -> AbstractContextManager[Records]: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A workspace and all that the records say hangs on it."""

    workspace: Workspace
    operation: Operation | None
    services: Sequence[Service]
    leases: Sequence[Lease]

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.workspace.owner}/{self.workspace.name}"


@dataclass(frozen=True, slots=True)
class Sides:
    """The records, the outside, and whether a server runs that brings the two together by itself."""

    store: LookedAt
    provider: WorkspaceProvider
    publisher: PortPublisher
    clock: Clock
    policy: Policy
    is_served: Callable[[], bool]

    def kept(self) -> list[Kept]:
        """Every workspace that is not deleted, all from one moment; raises as a snapshot does."""
        with self.store.snapshot() as records:
            return [
                Kept(
                    one,
                    records.operations.unfinished(one.id),
                    records.services.of_workspace(one.id),
                    records.leases.of_workspace(one.id),
                )
                for one in records.workspaces.with_status(KEPT)
            ]

    async def instances(self) -> list[Instance]:
        """This server's containers; raises `ProviderUnavailable` within some seconds, and `ProviderFailed`."""
        status = await self.provider.status()
        if not status.available:
            raise ProviderUnavailable("The provider does not answer", why=status.error or "")
        try:
            return await within(self.clock, LISTING, self.provider.instances())
        except TimeoutError:
            raise ProviderUnavailable("The provider does not answer", why="Its list takes too long.") from None

    def or_by_itself(self, fix: str, server_does: str) -> str:
        """What to do: nothing where a server runs, which ``server_does`` so within half a minute."""
        return f"The server {server_does} within half a minute." if self.is_served() else fix
