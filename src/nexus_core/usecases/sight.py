"""What a caller can see: everything of its own, all for the administrator."""

from __future__ import annotations

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.user import Caller, User
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import UserNotFound, WorkspaceNotFound, WorkspaceNotRunning
from nexus_core.ports.store import Records


def visible_user(records: Records, caller: Caller, github_username: str) -> User:
    """The registered user of that name, else `UserNotFound`, also for one who is not the caller."""
    user = records.users.by_name(github_username)
    if user is None or not caller.may_see(user.id):
        raise UserNotFound(f"There is no user named {github_username[:60]!r}")
    return user


def existing_user(records: Records, user_id: str) -> User:
    """The user of that id, else `UserNotFound`."""
    user = records.users.get(user_id)
    if user is None:
        raise UserNotFound(f"There is no user {user_id!r} any more")
    return user


def visible_workspace(records: Records, caller: Caller, workspace_id: str) -> Workspace:
    """The workspace, else `WorkspaceNotFound`, also for a deleted one and for another user's."""
    workspace = records.workspaces.get(workspace_id)
    if workspace is None or workspace.status is Status.DELETED or not caller.may_see(workspace.owner_id):
        raise WorkspaceNotFound(f"There is no workspace {workspace_id[:60]!r}")
    return workspace


def running_workspace(workspace: Workspace, *, or_starting: bool = False) -> Workspace:
    """The workspace itself if it runs, else `WorkspaceNotRunning`.

    ``or_starting`` takes one that is coming up or has failed, in which there may be something to see.
    """
    seen = {Status.RUNNING, *((Status.CREATING, Status.STARTING, Status.ERROR) if or_starting else ())}
    if workspace.status not in seen:
        raise WorkspaceNotRunning(f"{workspace.name} is {workspace.status}", details={"status": str(workspace.status)})
    return workspace
