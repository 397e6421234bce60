"""``nexus ls``, ``show``, ``stop`` and ``rm``."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli import known_hosts
from nexus_cli.api import PAGE, SLOW
from nexus_cli.connection import Connection, connected
from nexus_cli.names import workspace_id
from nexus_cli.screen import answer_json, columns, note, say
from nexus_cli.words import age

Name = Annotated[str, Parameter(help="Name or id of the workspace.")]
Owner = Annotated[str | None, Parameter(alias="--user", help="Whose workspace; for the administrator.")]


def ls(
    *,
    owner: Annotated[str | None, Parameter(alias="--user", help="Only this user's.")] = None,
    status: Annotated[str | None, Parameter(help="Only those in this status: running, stopped, error, …")] = None,
    all_pages: Annotated[
        bool, Parameter(name="--all", negative=(), show_default=False, help="Every page, not the newest 50.")
    ] = False,
    connection: Connection | None = None,
) -> None:
    """List workspaces, newest first."""
    connection = connected(connection)
    api = connection.api()
    if all_pages:
        found = list(api.workspaces(owner=owner, status=status))
        page: dict[str, Any] = {"workspaces": found, "total": len(found), "limit": PAGE, "offset": 0}
    else:
        page = api.get("workspaces", query={"owner": owner, "status": status})
    if connection.json:
        answer_json(page)
        return
    rows = [
        (
            one["name"],
            one["owner"],
            one["status"],
            str(one["ssh_port"] or "-"),
            age(one["created_at"]),
            one["workspace_id"],
        )
        for one in page["workspaces"]
    ]
    if not rows:
        note("There are no workspaces; `nexus create NAME` makes one.")
        return
    columns(("NAME", "OWNER", "STATUS", "SSH", "AGE", "ID"), rows, status_columns=(2,))
    if len(rows) < page["total"]:
        note(f"{len(rows)} of {page['total']} are shown; --all shows every one.")


def show(name: Name, /, *, owner: Owner = None, connection: Connection | None = None) -> None:
    """Show all there is to know about a workspace."""
    from nexus_cli.details import describe

    connection = connected(connection)
    api = connection.api()
    workspace = api.get("workspaces", workspace_id(api, name, owner))
    if connection.json:
        answer_json(workspace)
    else:
        describe(workspace)


def stop(
    name: Name,
    /,
    *,
    force: Annotated[
        bool, Parameter(negative=(), show_default=False, help="At once, without giving its programs time to end.")
    ] = False,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Stop a workspace; its files stay."""
    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    outcome = api.post("workspaces", identifier, "stop", body={"force": force}, timeout=SLOW)
    if connection.json:
        answer_json(outcome)
    else:
        say(f"{name} is {outcome['status']}.")


def rm(
    name: Name,
    /,
    *,
    force: Annotated[bool, Parameter(negative=(), show_default=False, help="Also if it is running.")] = False,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Delete a workspace and everything in it."""
    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    api.delete("workspaces", identifier, query={"force": "true"} if force else None, timeout=SLOW)
    known_hosts.forget(connection.state_path, identifier)
    if not connection.json:
        say(f"{name} is deleted.")
