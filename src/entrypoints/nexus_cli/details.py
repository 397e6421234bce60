"""A whole workspace for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus_cli.screen import columns, pairs, say
from nexus_cli.service_table import show_services
from nexus_cli.words import age, duration


def describe(workspace: Mapping[str, Any]) -> None:
    """Write down what matters of a workspace, leaving out what it does not have."""
    resources = workspace["resources"]
    ssh = workspace["ssh"] or {}
    repository = workspace["repository"] or {}
    moments = {
        word: f"{workspace[field]} ({age(workspace[field])} ago)"
        for word, field in (
            ("created", "created_at"),
            ("started", "started_at"),
            ("stopped", "stopped_at"),
            ("last activity", "last_activity_at"),
        )
        if workspace[field]
    }
    queued = workspace["queue_position"]
    pairs(
        {
            "name": workspace["name"],
            "id": workspace["workspace_id"],
            "owner": workspace["owner"],
            "status": workspace["status"] if queued is None else f"{workspace['status']} (place {queued} in the queue)",
            "image": f"{workspace['image']} ({workspace['provider']})",
            "resources": f"{resources['cpu']} cores, {resources['memory']} memory, {resources['disk']} disk",
            "node": f"{workspace['node']}, container {workspace['container_id']}",
            "ssh": ssh.get("command"),
            "host key": ssh.get("host_key_fingerprint"),
            "repository": _repository(repository),
            **moments,
        }
    )
    if workspace["services"]:
        say()
        show_services(workspace["services"].values())
    steps = [step for step in workspace["progress"] if step["status"] != "skipped"]
    if steps:
        say()
        columns(
            ("STEP", "STATUS", "TIME"),
            [(step["step"], step["status"], duration(step["duration_ms"])) for step in steps],
            status_columns=(1,),
        )
    for line in workspace["notes"]:
        say(f"note: {line}")
    if workspace["error"]:
        say()
        error = workspace["error"]
        say(f"failed in {error['step']}: {error['code']}", style="bold red")
        for line in str(error["message"]).splitlines():
            say(f"  {line}")


def _repository(repository: Mapping[str, Any]) -> str | None:
    where = repository.get("url") or repository.get("name") or ("sent from a folder" if repository else None)
    commit = str(repository.get("commit") or "")[:12]
    checked_out = ", ".join(part for part in (repository.get("branch"), commit) if part)
    return f"{where} ({checked_out})" if where and checked_out else where
