"""Starting a workspace that is stopped or has failed."""

from __future__ import annotations

from nexus_core.domain.lifecycle import Move
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.usecases.moves import Moves


class StartWorkspace:
    """Brings a workspace back, with the same port, host key and files."""

    def __init__(self, *, moves: Moves) -> None:
        self._moves = moves

    def __call__(self, caller: Caller, workspace_id: str) -> Workspace:
        """The workspace, ``starting``; from ``error`` it goes on from the step that failed.

        Accepted also while the provider is away: the work waits. Raises `WorkspaceNotFound` or
        `InvalidStatusTransition`.
        """
        return self._moves.begin(caller, workspace_id, Move.START).workspace
