"""Looking at workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import Operation, OperationStatus
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.ports.records import WorkspaceFilter
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_workspace


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """A workspace, the operation that is or was last at work on it, and its place in the queue from 1."""

    workspace: Workspace
    operation: Operation | None
    queue_position: int | None


class ShowWorkspace:
    """Finds one workspace with how its work goes."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(self, caller: Caller, workspace_id: str) -> WorkspaceView:
        """Raises `WorkspaceNotFound`."""
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            operation = records.operations.latest(workspace_id)
            position = None
            if operation is not None and operation.status is OperationStatus.QUEUED:
                position = records.operations.queue_position(operation.id)
            return WorkspaceView(workspace, operation, position)


class ListWorkspaces:
    """Lists workspaces, newest first."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(
        self, caller: Caller, *, owner: str | None = None, status: Status | None = None, limit: int, offset: int
    ) -> tuple[Sequence[Workspace], int]:
        """A page and how many there are in all.

        A user lists its own, the administrator all or one owner's; an owner nobody knows has none.
        Raises `Forbidden` for a user that names another.
        """
        with self._store.snapshot() as records:
            owner_id = None
            if caller.user is not None:
                caller.acting_for(owner, field="owner")
                owner_id = caller.user.id
            elif owner is not None:
                user = records.users.by_name(owner)
                if user is None:
                    return (), 0
                owner_id = user.id
            return records.workspaces.page(WorkspaceFilter(owner_id, status), limit=limit, offset=offset)
