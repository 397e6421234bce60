"""What is shown while a workspace comes up, and once it has or has failed."""

from __future__ import annotations

from typing import Any

from nexus_cli.api import Api
from nexus_cli.errors import WorkspaceFailed
from nexus_cli.screen import answer_json, note, say


def until_running(api: Api, identifier: str, name: str, *, as_json: bool) -> None:
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
        _welcome(workspace, name)


def _welcome(workspace: dict[str, Any], name: str) -> None:
    """How it is opened on standard output; its services and notes beside that."""
    note(f"{name} is running. Open it with `nexus ssh {name}`, which knows its host key, or with:", style="green")
    say(workspace["ssh"]["command"])
    if workspace["services"]:
        from nexus_cli.service_table import show_services

        show_services(workspace["services"].values(), error=True)
    for line in workspace["notes"]:
        note(f"note: {line}", style="")


def _failure(workspace: dict[str, Any], name: str) -> WorkspaceFailed:
    error = workspace["error"]
    details = {"workspace_id": workspace["workspace_id"]}
    if not error:
        what = f"{name} is {workspace['status']}, not running"
        return WorkspaceFailed(what, why="Somebody stopped or deleted it meanwhile.", details=details)
    fix = f"`nexus start {name}` goes on from this step, `nexus rm {name}` removes what there is."
    if error["step"] in ("clone_repository", "run_setup"):
        fix = f"`nexus logs {name}` shows all of its output. {fix}"
    if error["code"] == "bundle_missing":
        fix = f"`nexus send {name} FOLDER` sends it, `nexus rm {name}` removes what there is."
    failure = WorkspaceFailed(f"{name} failed in {error['step']}", why=str(error["message"]), fix=fix, details=details)
    failure.details["step"] = error["step"]
    failure.code = str(error["code"])
    return failure
