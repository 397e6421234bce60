"""``nexus status`` and ``nexus health``."""

from __future__ import annotations

from typing import Any

from nexus_cli.connection import Connection, connected
from nexus_cli.exit_codes import ExitCode
from nexus_cli.screen import answer_json, pairs
from nexus_cli.words import age, size, span


def health(*, connection: Connection | None = None) -> int:
    """Say whether the server is well; needs no token."""
    connection = connected(connection)
    said = connection.api(authorised=False).health()
    if connection.json:
        answer_json(said)
    else:
        pairs(_health(said))
    return ExitCode.TRY_LATER if said["status"] == "unavailable" else ExitCode.OK


def status(*, connection: Connection | None = None) -> None:
    """Show the server in figures."""
    connection = connected(connection)
    said = connection.api().get("status")
    if connection.json:
        answer_json(said)
        return
    counts = ", ".join(f"{count} {name}" for name, count in said["workspaces"].items()) or "none"
    pairs(
        {
            **_health(said),
            "workspaces": counts,
            "operations": f"{said['operations']['running']} running, {said['operations']['queued']} queued",
            **{f"{kind} ports": _ports(ports) for kind, ports in said["ports"].items()},
            "database": f"{size(said['database']['size_bytes'])}, schema {said['database']['schema_version']}",
            **{f"provider {name}": _provider(one) for name, one in said["providers"].items()},
        }
    )


def _health(said: dict[str, Any]) -> dict[str, str | None]:
    nodes = {f"node {name}": _node(one) for name, one in said["nodes"].items()}
    return {
        "status": said["status"],
        "version": said["version"],
        "up for": span(said["uptime_seconds"]),
        **nodes,
    }


def _node(node: dict[str, Any]) -> str:
    heard = f"heard of {age(node['last_heartbeat'])} ago" if node["last_heartbeat"] else "never heard of"
    return f"{node['status']} ({node['provider']}), {heard}, {node['workspaces']} workspaces"


def _ports(ports: dict[str, Any]) -> str:
    return f"{ports['first']}-{ports['last']}: {ports['used']} used, {ports['free']} free"


def _provider(provider: dict[str, Any]) -> str:
    if provider["available"]:
        return f"available, version {provider['version']}"
    return f"away: {provider['error']}"
