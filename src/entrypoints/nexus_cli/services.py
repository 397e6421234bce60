"""``nexus services`` and ``nexus restart``."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.api import SLOW, Api
from nexus_cli.connection import Connection, connected
from nexus_cli.errors import NoSuchService, ServiceFailed
from nexus_cli.names import workspace_id
from nexus_cli.screen import answer_json, note, say
from nexus_cli.workspaces import Name, Owner

Service = Annotated[str, Parameter(help="Name of the service.")]

# Whatever else a service is, it is on its way.
_ENDS = frozenset({"running", "unhealthy", "stopped", "error"})


def services(name: Name, /, *, owner: Owner = None, connection: Connection | None = None) -> None:
    """List a workspace's services and how they fare."""
    from nexus_cli.service_table import show_services

    connection = connected(connection)
    api = connection.api()
    answer = api.get("workspaces", workspace_id(api, name, owner), "services")
    if connection.json:
        answer_json(answer)
    elif answer["services"]:
        show_services(answer["services"])
    else:
        note(f"{name} has no services; `nexus init` writes a file that describes those of a repository.")


def restart(
    name: Name,
    service: Service,
    /,
    *,
    owner: Owner = None,
    wait: Annotated[bool, Parameter(show_default=False, help="Watch it until it runs, or only ask for it.")] = True,
    connection: Connection | None = None,
) -> None:
    """Restart a service; what depends on it goes on."""
    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    accepted = api.post("workspaces", identifier, "services", service, "restart", timeout=SLOW)
    if not wait:
        if connection.json:
            answer_json(accepted)
        else:
            say(f"{service} is {accepted['status']}.")
        return
    now = _settled(api, identifier, service, quiet=connection.json)
    if connection.json:
        answer_json(now)
    if now["status"] != "running":
        why = str(now["error"] or "")
        fix = f"`nexus logs {name} {service}` shows what it wrote."
        details = {"workspace_id": identifier, "service": service}
        raise ServiceFailed(f"{service} is {now['status']}", why=why, fix=fix, details=details)
    if not connection.json:
        say(f"{service} is running{': ' + now['url'] if now['url'] else ''}.")


def _settled(api: Api, identifier: str, service: str, *, quiet: bool) -> dict[str, Any]:
    """The service once it is not on its way up any more; raises `NoSuchService` if it has gone."""
    from nexus_cli.following import looks

    told = False

    def away(_seconds: float) -> None:
        nonlocal told
        if not (told or quiet):
            note("the server does not answer; waiting for it to come back")
        told = True

    for answer in looks(lambda: api.get("workspaces", identifier, "services"), away):
        now: dict[str, Any] | None = next((one for one in answer["services"] if one["name"] == service), None)
        if now is None:
            raise NoSuchService(f"There is no service {service!r} any more")
        if now["status"] in _ENDS:
            return now
    raise AssertionError("looks do not end")  # pragma: no cover  # for the type checkers
