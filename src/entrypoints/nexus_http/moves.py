"""Starting, stopping and deleting workspaces."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, delete, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core import Caller, Nexus
from nexus_http.bodies import read_body, read_optional_body
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.queries import read_query
from nexus_http.site import Site
from nexus_http.wire import requests
from nexus_http.wire.fields import moment_or_null, polling_url
from nexus_http.wire.workspaces import WorkspaceStarting, WorkspaceStopped

Asking = Request[Caller, Any, Any]

_STARTING: Final = Answer("It is on its way.", WorkspaceStarting)
_STOPPED: Final = Answer("It has stopped.", WorkspaceStopped)
_START_ERRORS: Final = ("workspace_not_found", "invalid_status_transition")
_STOP_ERRORS: Final = (*_START_ERRORS, "workspace_already_stopped", "provider_unavailable")

START = Endpoint(
    tag="Workspaces",
    summary="Start a workspace",
    description="From `stopped`, or from `error`: then it goes on from the step that failed. SSH port, host key and "
    "files are as before. While the provider is away it waits. `force` has no effect here.",
    body=requests.Forced,
    body_required=False,
    query=requests.ForceQuery,
    answers={202: _STARTING},
    errors=_START_ERRORS,
)


@post("/workspaces/{workspace_id:str}/start", opt=START.opt, status_code=202)
async def start_workspace(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]
) -> WorkspaceStarting:
    """Start a workspace."""
    await _is_forced(request)
    return _start(request, site.nexus, workspace_id)


STOP = Endpoint(
    tag="Workspaces",
    summary="Stop a workspace",
    description="Answered when it has stopped and its SSH port is closed. One still being created or started is "
    "given up and ends in `stopped`.",
    body=requests.Forced,
    body_required=False,
    query=requests.ForceQuery,
    answers={200: _STOPPED},
    errors=_STOP_ERRORS,
)


@post("/workspaces/{workspace_id:str}/stop", opt=STOP.opt, status_code=200)
async def stop_workspace(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> WorkspaceStopped:
    """Stop a workspace."""
    force = await _is_forced(request)
    return await _stop(request, site.nexus, workspace_id, force=force)


SET_STATUS = Endpoint(
    tag="Workspaces",
    summary="Start or stop a workspace",
    description="Does what `start` and `stop` do, and answers as they do.",
    body=requests.SetStatus,
    query=requests.ForceQuery,
    answers={200: _STOPPED, 202: _STARTING},
    errors=_STOP_ERRORS,
)


@patch("/workspaces/{workspace_id:str}/status", opt=SET_STATUS.opt)
async def set_status(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]
) -> Response[WorkspaceStarting | WorkspaceStopped]:
    """Start or stop a workspace."""
    query = read_query(request, requests.ForceQuery)
    body = await read_body(request, requests.SetStatus)
    if body.status == "running":
        return Response(_start(request, site.nexus, workspace_id), status_code=202)
    stopped = await _stop(request, site.nexus, workspace_id, force=body.force or query.force)
    return Response(stopped, status_code=200)


DELETE = Endpoint(
    tag="Workspaces",
    summary="Delete a workspace",
    description="Answered when its container, ports and records are gone. Work under way is given up. If the provider "
    "is away the answer is 503, the workspace stays `deleting`, and the work is finished when it is back.",
    query=requests.ForceQuery,
    answers={204: Answer("It is gone.")},
    errors=("workspace_not_found", "workspace_running", "invalid_status_transition", "provider_unavailable"),
)


@delete("/workspaces/{workspace_id:str}", opt=DELETE.opt)
async def delete_workspace(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> None:
    """Delete a workspace."""
    query = read_query(request, requests.ForceQuery)
    await site.nexus.delete_workspace(request.user, workspace_id, force=query.force)


async def _is_forced(request: Asking) -> bool:
    query = read_query(request, requests.ForceQuery)
    body = await read_optional_body(request, requests.Forced)
    return query.force or body.force


def _start(request: Asking, nexus: Nexus, workspace_id: str) -> WorkspaceStarting:
    started = nexus.start_workspace(request.user, workspace_id)
    return WorkspaceStarting(started.id, started.status, polling_url(started.id))


async def _stop(request: Asking, nexus: Nexus, workspace_id: str, *, force: bool) -> WorkspaceStopped:
    stopped = await nexus.stop_workspace(request.user, workspace_id, force=force)
    return WorkspaceStopped(stopped.id, stopped.status, moment_or_null(stopped.stopped_at))


ROUTES: Final[list[Any]] = [start_workspace, stop_workspace, set_status, delete_workspace]
