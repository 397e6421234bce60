"""Looking at workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import Operation, OperationStatus
from nexus_core.domain.service import Service, in_start_order
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.health import HealthMonitor
from nexus_core.ports.records import WorkspaceFilter
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_workspace


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """A workspace, the operation that is or was last at work on it, and its place in the queue from 1.

    Its services are in the order in which they start.
    """

    workspace: Workspace
    operation: Operation | None
    queue_position: int | None
    services: tuple[Service, ...] = ()


class ShowWorkspace:
    """Finds one workspace with how its work goes."""

    def __init__(self, *, store: Store, monitor: HealthMonitor) -> None:
        self._store = store
        self._monitor = monitor

    def __call__(self, caller: Caller, workspace_id: str) -> WorkspaceView:
        """Raises `WorkspaceNotFound`."""
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            operation = records.operations.latest(workspace_id)
            position = None
            if operation is not None and operation.status is OperationStatus.QUEUED:
                position = records.operations.queue_position(operation.id)
            services = in_start_order(records.services.of_workspace(workspace_id))
        looked_at = (replace(one, last_check=self._monitor.last_look(one)) for one in services)
        return WorkspaceView(workspace, operation, position, tuple(looked_at))


@dataclass(frozen=True, slots=True)
class Listed:
    """A workspace in a list, and how many services it has."""

    workspace: Workspace
    services: int


class ListWorkspaces:
    """Lists workspaces, newest first."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(
        self, caller: Caller, *, owner: str | None = None, status: Status | None = None, limit: int, offset: int
    ) -> tuple[Sequence[Listed], int]:
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
            page, total = records.workspaces.page(WorkspaceFilter(owner_id, status), limit=limit, offset=offset)
            counts = records.services.count([one.id for one in page])
        return [Listed(one, counts.get(one.id, 0)) for one in page], total
