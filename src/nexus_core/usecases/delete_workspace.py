"""Removing a workspace for good."""

from __future__ import annotations

from nexus_core.domain.lifecycle import Move, Status
from nexus_core.domain.user import Caller
from nexus_core.errors import WorkspaceRunning
from nexus_core.ports.store import Store
from nexus_core.usecases.moves import Begun, Moves
from nexus_core.usecases.sight import visible_workspace


class DeleteWorkspace:
    """Removes the container, its forwards, its port leases and its services, whatever is left of them."""

    def __init__(self, *, store: Store, moves: Moves) -> None:
        self._store = store
        self._moves = moves

    async def __call__(self, caller: Caller, workspace_id: str, *, force: bool = False) -> None:
        """Return once everything is gone; work under way is cancelled.

        A second deletion waits for the first. Raises `WorkspaceNotFound`; `WorkspaceRunning`
        without ``force``; `ProviderUnavailable` if the provider is away: the workspace stays
        ``deleting`` and the work is finished when it is back.
        """
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            under_way = records.operations.unfinished(workspace_id)
        if workspace.status is Status.RUNNING and not force:
            raise WorkspaceRunning(f"{workspace.name} is running", details={"workspace_id": workspace_id})
        if workspace.status is Status.DELETING and under_way is not None:
            begun = Begun(workspace, under_way.id)
        else:
            begun = self._moves.begin(caller, workspace_id, Move.DELETE, force=force)
        await self._moves.ended(begun)
