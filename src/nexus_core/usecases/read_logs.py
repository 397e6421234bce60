"""Reading what services, clones and set-ups wrote."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from nexus_core.domain.operation import StepName
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.forwards import existing_service
from nexus_core.engine.observation import Observation
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Workbench
from nexus_core.usecases.presence import in_a_running_container
from nexus_core.usecases.sight import running_workspace, visible_workspace


class ReadLogs:
    """Shows the output of a service, or of the clone and the set-up scripts."""

    def __init__(self, *, store: Store, workbench: Workbench, observation: Observation) -> None:
        self._store = store
        self._observation = observation
        self._workbench = workbench

    async def __call__(self, caller: Caller, workspace_id: str, service: str | None, *, lines: int) -> str:
        """The last ``lines`` lines, none yet of a workspace that is still to be made; for a service, it must run.

        Raises `WorkspaceNotFound`, `ServiceNotFound`, `WorkspaceNotRunning`, `ProviderUnavailable` and
        `ProviderFailed`.
        """
        workspace = self._workspace(caller, workspace_id, service)
        if StepName.CREATE_INSTANCE not in workspace.provisioned:
            return ""
        async with in_a_running_container(self._observation, workspace):
            return await self._workbench.tail(workspace.container_id, service, lines=lines)

    def follow(
        self, caller: Caller, workspace_id: str, service: str | None, *, lines: int
    ) -> AsyncGenerator[bytes, None]:
        """The same and what is written from then on, until closed; raises the same, at once."""
        workspace = self._workspace(caller, workspace_id, service)
        return self._workbench.follow(workspace.container_id, service, lines=lines)

    def _workspace(self, caller: Caller, workspace_id: str, service: str | None) -> Workspace:
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            if service is not None:
                existing_service(records, workspace, service)
        if service is not None:
            running_workspace(workspace, or_starting=True)
        return workspace
