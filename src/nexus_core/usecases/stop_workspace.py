"""Stopping a workspace."""

from __future__ import annotations

from nexus_core.domain.lifecycle import Move, begin
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.store import Store
from nexus_core.usecases.moves import Moves
from nexus_core.usecases.presence import require_provider
from nexus_core.usecases.sight import visible_workspace


class StopWorkspace:
    """Stops a workspace; one still being created or started is given up and ends stopped."""

    def __init__(self, *, store: Store, provider: WorkspaceProvider, moves: Moves) -> None:
        self._store = store
        self._provider = provider
        self._moves = moves

    async def __call__(self, caller: Caller, workspace_id: str, *, force: bool = False) -> Workspace:
        """The workspace once it is ``stopped`` and its SSH port is closed; ``force`` skips the grace period.

        Raises `WorkspaceNotFound`, `WorkspaceAlreadyStopped`, `InvalidStatusTransition`;
        `ProviderUnavailable` before anything is changed if the provider does not answer, or later if
        it goes away: then the stop goes on when it is back. Raises `ProviderFailed` if it cannot be stopped.
        """
        with self._store.snapshot() as records:
            begin(visible_workspace(records, caller, workspace_id).status, Move.STOP)
        await require_provider(self._provider)
        begun = self._moves.begin(caller, workspace_id, Move.STOP, force=force)
        return await self._moves.ended(begun)
