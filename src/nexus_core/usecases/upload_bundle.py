"""Taking in a repository from a person's own disk."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import StepName
from nexus_core.domain.user import Caller
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import InvalidRequest, InvalidStatusTransition, NexusError
from nexus_core.ports.bundles import Bundles
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_workspace


class UploadBundle:
    """Keeps a git bundle for the workspace that was created to be filled from one."""

    def __init__(self, *, store: Store, bundles: Bundles) -> None:
        self._store = store
        self._bundles = bundles

    def check(self, caller: Caller, workspace_id: str) -> Workspace:
        """The workspace if it takes a bundle now.

        Raises `WorkspaceNotFound`, `InvalidRequest` if it was not created for one, and
        `InvalidStatusTransition` if it has its repository already or is being removed.
        """
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
        if workspace.repository is None or not workspace.repository.bundle:
            raise InvalidRequest(
                f"{workspace.name} was not created for an uploaded repository",
                fix='Create one with `repo: {"bundle": true}`, as `nexus create --repo PATH` does.',
            )
        if StepName.CLONE_REPOSITORY in workspace.provisioned or workspace.status is Status.DELETING:
            raise InvalidStatusTransition(
                f"{workspace.name} has its repository already",
                fix="Push to it over ssh, or create another workspace.",
                details={"from": str(workspace.status), "to": str(workspace.status), "allowed": []},
            )
        return workspace

    async def __call__(self, caller: Caller, workspace_id: str, chunks: AsyncIterator[bytes]) -> Workspace:
        """The workspace, once its bundle is kept; the creation goes on with it. Raises what `check` raises."""
        workspace = self.check(caller, workspace_id)
        await self._bundles.receive(workspace.id, chunks)
        try:
            return self.check(caller, workspace_id)
        except NexusError:
            # It was deleted, or filled by another upload, while this one was coming in.
            self._bundles.remove(workspace.id)
            raise
