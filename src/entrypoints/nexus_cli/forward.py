"""``nexus forward``: which port of the server leads to a service."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.api import SLOW, Api
from nexus_cli.connection import Connection, connected
from nexus_cli.errors import WrongUsage
from nexus_cli.names import workspace_id
from nexus_cli.screen import answer_json, columns, note, say
from nexus_cli.workspaces import Name, Owner


def forward(
    name: Name,
    service: Annotated[str | None, Parameter(help="The service; without it, what is forwarded is listed.")] = None,
    /,
    *,
    port: Annotated[int | None, Parameter(help="The server's port that is to lead there, such as 23005.")] = None,
    remove: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Take the service's forward away instead.")
    ] = False,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Forward a port of the server to a service, or list or remove forwards."""
    connection = connected(connection)
    if remove and port is not None:
        raise WrongUsage("--remove and --port cannot be given together", fix="A service has one forward at most.")
    if service is None and (remove or port is not None):
        raise WrongUsage("The service is missing", fix=f"`nexus services {name}` lists them.")
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    if service is None:
        _list(api, identifier, name, as_json=connection.json)
        return
    path = ("workspaces", identifier, "services", service, "port-forward")
    if remove:
        api.delete(*path, timeout=SLOW)
        if not connection.json:
            say(f"{service} is forwarded no more.")
        return
    made = api.post(*path, body={} if port is None else {"mapped_port": port}, timeout=SLOW)
    if connection.json:
        answer_json(made)
        return
    note(f"Port {made['mapped_port']} of the server leads to {service}, port {made['port']}:")
    say(made["url"])


def _list(api: Api, identifier: str, name: str, *, as_json: bool) -> None:
    answer: dict[str, Any] = api.get("workspaces", identifier, "services")
    if as_json:
        answer_json(answer)
        return
    rows = [
        (one["name"], str(one["port"]), one["url"] or f"port {one['mapped_port']}")
        for one in answer["services"]
        if one["mapped_port"] is not None
    ]
    if rows:
        columns(("SERVICE", "PORT", "ADDRESS"), rows)
    else:
        note(f"Nothing of {name} is forwarded; `nexus forward {name} SERVICE` does it.")
