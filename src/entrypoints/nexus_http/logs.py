"""What services, clones and set-ups wrote, as text."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from nexus_core import Caller
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import Failed, InstanceMissing, WorkspaceNotRunning
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.following import Following
from nexus_http.queries import read_query
from nexus_http.site import Site
from nexus_http.visits import visit_of
from nexus_http.wire import requests

Asking = Request[Caller, Any, Any]

_ON_ITS_WAY: Final = frozenset({Status.PENDING, Status.CREATING})
_PERHAPS_UP: Final = frozenset({Status.CREATING, Status.STARTING, Status.ERROR})

SERVICE_LOGS = Endpoint(
    tag="Services",
    summary="Show what a service wrote",
    description="With `follow=true` the answer goes on with what it writes from then on, until you hang up, the "
    "workspace stops or the server does.",
    query=requests.LogQuery,
    answers={200: Answer("The last lines.", str)},
    errors=("workspace_not_found", "service_not_found", "workspace_not_running", "provider_unavailable"),
)
WORKSPACE_LOGS = Endpoint(
    tag="Workspaces",
    summary="Show what the clone and the set-up wrote",
    description="Also while they run, and of a workspace that is stopped. With `follow=true` the answer goes on with "
    "what they write from then on, until you hang up, the workspace stops or the server does; where nothing can be "
    "written any more, it ends at once.",
    query=requests.LogQuery,
    answers={200: Answer("The last lines.", str)},
    errors=("workspace_not_found", "workspace_not_running", "provider_unavailable"),
)


@get("/workspaces/{workspace_id:str}/services/{service_name:str}/logs", opt=SERVICE_LOGS.opt)
async def show_service_logs(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str], service_name: FromPath[str]
) -> ASGIApp:
    """Show what a service wrote."""
    return await _logs(request, site, workspace_id, service_name)


@get("/workspaces/{workspace_id:str}/logs", opt=WORKSPACE_LOGS.opt)
async def show_workspace_logs(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> ASGIApp:
    """Show what the clone and the set-up wrote."""
    return await _logs(request, site, workspace_id, None)


async def _logs(request: Asking, site: Site, workspace_id: str, service: str | None) -> ASGIApp:
    query = read_query(request, requests.LogQuery)
    # The head of an answer that goes on for ever is that of one that does not.
    if not query.follow or visit_of(request.scope).method == "HEAD":
        return _text(await _tail(request, site, workspace_id, service, query.lines))
    # What cannot be shown is said before the answer has begun.
    await _tail(request, site, workspace_id, service, 0)
    following = Following(
        site.nexus.read_logs.follow(request.user, workspace_id, service, lines=query.lines), site.stopping
    )
    try:
        await following.begin()
    except Failed:
        # Nothing runs that could write more: what there is, if that can be had, is all there will be.
        return _text(await _tail(request, site, workspace_id, service, query.lines))
    return following


async def _tail(request: Asking, site: Site, workspace_id: str, service: str | None, lines: int) -> str:
    """The last lines; none of a workspace that has not got so far that anything could be written."""
    try:
        return await site.nexus.read_logs(request.user, workspace_id, service, lines=lines)
    except Failed as error:
        workspace = site.nexus.show_workspace(request.user, workspace_id).workspace
        if isinstance(error, InstanceMissing) and workspace.status in _ON_ITS_WAY:
            return ""
        if service is not None and workspace.status in _PERHAPS_UP:
            raise WorkspaceNotRunning(
                f"{workspace.name} is {workspace.status} and nothing runs in it",
                details={"status": str(workspace.status)},
            ) from error
        raise


def _text(content: str) -> ASGIResponse:
    return ASGIResponse(body=content.encode(errors="replace"), media_type="text/plain")


ROUTES: Final[list[Any]] = [show_service_logs, show_workspace_logs]
