"""What starting, stopping and deleting have in common: a move begins in the records and ends in the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nexus_core.domain.lifecycle import Move
from nexus_core.domain.operation import OperationStatus
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.engine import Engine
from nexus_core.engine.journal import supersede, workspace_of
from nexus_core.errors import InvalidStatusTransition, ProviderFailed
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_workspace


@dataclass(frozen=True, slots=True)
class Begun:
    """A move under way."""

    workspace: Workspace
    operation_id: str


class Moves:
    """Begins moves and waits for their end."""

    def __init__(self, *, store: Store, engine: Engine, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._ids = ids

    def begin(self, caller: Caller, workspace_id: str, move: Move, *, force: bool = False) -> Begun:
        """Give up what is under way, change the status and queue the work, in one transaction.

        Raises `WorkspaceNotFound`, `WorkspaceAlreadyStopped` or `InvalidStatusTransition`.
        """
        now = self._clock.now()
        with self._store.transaction() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            active = replace(workspace, last_activity_at=now)
            operation = supersede(records, active, move, self._ids.new("op"), now, force=force)
            begun = records.workspaces.get(workspace_id) or active
        self._engine.cancel(workspace_id)
        self._engine.admit()
        return Begun(begun, operation.id)

    async def ended(self, begun: Begun) -> Workspace:
        """The workspace when its move has succeeded.

        Raises `ProviderUnavailable` if the work has to wait, `ProviderFailed` if it failed, and
        `InvalidStatusTransition` if another request gave it up for a move of its own.
        """
        operation = await self._engine.completion(begun.operation_id)
        with self._store.snapshot() as records:
            workspace = workspace_of(records, operation)
        if operation.status is OperationStatus.FAILED:
            why = workspace.error.message if workspace.error else ""
            raise ProviderFailed(f"{workspace.name} could not be brought to the asked status", why=why)
        if operation.status is OperationStatus.CANCELLED:
            raise InvalidStatusTransition(
                f"Another request took over: the workspace is {workspace.status}",
                details={"from": str(begun.workspace.status), "to": str(workspace.status), "allowed": []},
            )
        return workspace
