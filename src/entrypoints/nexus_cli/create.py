"""``nexus create`` and ``nexus start``: ask for it, then watch it come up."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.api import Api
from nexus_cli.connection import Connection, connected
from nexus_cli.errors import WorkspaceFailed
from nexus_cli.names import checked_id, workspace_id
from nexus_cli.screen import answer_json, note, say
from nexus_cli.workspaces import Name, Owner

Wait = Annotated[bool, Parameter(show_default=False, help="Watch it until it runs, or only ask for it.")]


def create(
    name: Annotated[str, Parameter(help="Name of the workspace, such as my-project.")],
    /,
    *,
    user: Annotated[str | None, Parameter(alias="--owner", help="Whose it shall be; for the administrator.")] = None,
    image: Annotated[str | None, Parameter(help="Local alias, or a remote image such as ubuntu:22.04.")] = None,
    cpu: Annotated[int | None, Parameter(help="Number of cores.")] = None,
    memory: Annotated[str | None, Parameter(help="Memory with its unit, such as 4GiB.")] = None,
    disk: Annotated[str | None, Parameter(help="Disk with its unit, such as 20GiB.")] = None,
    wait: Wait = True,
    connection: Connection | None = None,
) -> None:
    """Create a workspace and watch it come up."""
    connection = connected(connection)
    api = connection.api()
    resources = {key: value for key, value in (("cpu", cpu), ("memory", memory), ("disk", disk)) if value is not None}
    request: dict[str, Any] = {"workspace_name": name}
    if user is not None:
        request["github_username"] = user
    if image is not None:
        request["image"] = image
    if resources:
        request["resources"] = resources
    accepted = api.post("workspaces", body=request, key=uuid.uuid4().hex)
    if wait:
        _until_running(api, checked_id(accepted), name, as_json=connection.json)
    elif connection.json:
        answer_json(accepted)
    else:
        say(f"{name} is {accepted['status']}: {accepted['workspace_id']}")
        note(f"It takes about {accepted['estimated_time_seconds']} s; watch it with `nexus show {name}`.")


def start(
    name: Name,
    /,
    *,
    owner: Owner = None,
    wait: Wait = True,
    connection: Connection | None = None,
) -> None:
    """Start a workspace again, from where it stopped or failed."""
    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    accepted = api.post("workspaces", identifier, "start", body={})
    if wait:
        _until_running(api, identifier, name, as_json=connection.json)
    elif connection.json:
        answer_json(accepted)
    else:
        say(f"{name} is {accepted['status']}.")


def _until_running(api: Api, identifier: str, name: str, *, as_json: bool) -> None:
    """Show the steps and end with the ssh command; raises `WorkspaceFailed`."""
    from nexus_cli.following import follow
    from nexus_cli.progress import view

    try:
        with view(name, as_json=as_json) as shown:
            workspace = follow(api, identifier, shown)
    except KeyboardInterrupt:
        if not as_json:
            note(f"{name} is still on its way: `nexus show {name}` says how far it is, `nexus rm {name}` gives it up.")
        raise
    if as_json:
        answer_json(workspace)
    if workspace["status"] != "running":
        raise _failure(workspace, name)
    if not as_json:
        note(f"{name} is running. Open it with `nexus ssh {name}`, which knows its host key, or with:", style="green")
        say(workspace["ssh"]["command"])


def _failure(workspace: dict[str, Any], name: str) -> WorkspaceFailed:
    error = workspace["error"]
    details = {"workspace_id": workspace["workspace_id"]}
    if not error:
        what = f"{name} is {workspace['status']}, not running"
        return WorkspaceFailed(what, why="Somebody stopped or deleted it meanwhile.", details=details)
    fix = f"`nexus start {name}` goes on from this step, `nexus rm {name}` removes what there is."
    failure = WorkspaceFailed(f"{name} failed in {error['step']}", why=str(error["message"]), fix=fix, details=details)
    failure.details["step"] = error["step"]
    failure.code = str(error["code"])
    return failure
