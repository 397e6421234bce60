"""A whole workspace for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus_cli.screen import columns, pairs, say
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
            "repository": repository.get("url"),
            **moments,
        }
    )
    if workspace["services"]:
        say()
        rows = [
            (one["name"], one["status"], one["health"], str(one["port"] or "-"), one["url"] or "-")
            for one in workspace["services"].values()
        ]
        columns(("SERVICE", "STATUS", "HEALTH", "PORT", "URL"), rows, status_column=1)
    steps = [step for step in workspace["progress"] if step["status"] != "skipped"]
    if steps:
        say()
        columns(
            ("STEP", "STATUS", "TIME"),
            [(step["step"], step["status"], duration(step["duration_ms"])) for step in steps],
            status_column=1,
        )
    for line in workspace["notes"]:
        say(f"note: {line}")
    if workspace["error"]:
        say()
        error = workspace["error"]
        say(f"failed in {error['step']}: {error['code']}", style="bold red")
        for line in str(error["message"]).splitlines():
            say(f"  {line}")
