"""Creating and looking at workspaces."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core import Caller, WorkspaceRequest
from nexus_core.domain.repository import Credentials
from nexus_core.errors import InvalidRequest
from nexus_core.usecases.create_workspace import Retry
from nexus_http.bodies import read_body
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.queries import read_query
from nexus_http.site import Site
from nexus_http.visits import visit_of
from nexus_http.wire import requests
from nexus_http.wire.fields import BASE
from nexus_http.wire.workspace import Workspace
from nexus_http.wire.workspaces import WorkspaceAccepted, Workspaces

Asking = Request[Caller, Any, Any]

_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")

CREATE = Endpoint(
    tag="Workspaces",
    summary="Create a workspace",
    description="Accepted at once and made in the background; ask at `polling_url` until it is `running`. While the "
    "provider is away it waits. With an `Idempotency-Key` the request can be sent again without making a second one.",
    body=requests.CreateWorkspace,
    idempotency_key=True,
    answers={202: Answer("It is on its way.", WorkspaceAccepted, headers=("Location",))},
    errors=(
        "invalid_service_graph",
        "unknown_provider",
        "unknown_image",
        "forbidden",
        "user_not_found",
        "workspace_already_exists",
        "idempotency_conflict",
        "no_ports_available",
    ),
)


@post("/workspaces", opt=CREATE.opt, status_code=202)
async def create_workspace(request: Asking, site: NamedDependency[Site]) -> Response[WorkspaceAccepted]:
    """Create a workspace."""
    body = await read_body(request, requests.CreateWorkspace)
    resources = body.resources or requests.Resources()
    wanted = WorkspaceRequest(
        workspace_name=body.workspace_name,
        github_username=body.github_username,
        provider=body.provider,
        image=body.image,
        cpu=resources.cpu,
        memory=resources.memory,
        disk=resources.disk,
        repository=body.repo.repository() if body.repo else None,
        credentials=body.repo.credentials() if body.repo else Credentials(),
        setup=body.setup or (),
        services=tuple(one.spec() for one in body.services or ()),
    )
    accepted = await site.nexus.create_workspace(request.user, wanted, retry=_retry(request, body))
    visit_of(request.scope).workspace_id = accepted.workspace.id
    location = f"{BASE}/workspaces/{accepted.workspace.id}"
    return Response(WorkspaceAccepted.of(accepted), status_code=202, headers={"Location": location})


LIST = Endpoint(
    tag="Workspaces",
    summary="List workspaces",
    description="Newest first; deleted ones only with `status=deleted`. A user sees its own, the administrator all.",
    query=requests.PageQuery,
    answers={200: Answer("A page of them.", Workspaces)},
    errors=("forbidden",),
)


@get("/workspaces", opt=LIST.opt, sync_to_thread=False)
def list_workspaces(request: Asking, site: NamedDependency[Site]) -> Workspaces:
    """List workspaces."""
    query = read_query(request, requests.PageQuery)
    page, total = site.nexus.list_workspaces(
        request.user, owner=query.owner, status=query.status, limit=query.limit, offset=query.offset
    )
    return Workspaces.of(page, total, query.limit, query.offset)


SHOW = Endpoint(
    tag="Workspaces",
    summary="Show a workspace",
    description="Both addresses answer the same. `progress` has every step of the current or last operation.",
    answers={200: Answer("The workspace.", Workspace)},
    errors=("workspace_not_found",),
)


@get(["/workspaces/{workspace_id:str}", "/workspaces/{workspace_id:str}/status"], opt=SHOW.opt, sync_to_thread=False)
def show_workspace(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> Workspace:
    """Show a workspace."""
    view = site.nexus.show_workspace(request.user, workspace_id)
    return Workspace.of(view, site.public_host, site.forwards_host)


def _retry(request: Asking, body: requests.CreateWorkspace) -> Retry | None:
    """The client's name for this request; equal bodies have equal digests however they are written."""
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
        reason = "must be one of 1-255 printable ASCII characters"
        raise InvalidRequest("The Idempotency-Key cannot be used", details={"Idempotency-Key": reason})
    asked = msgspec.json.encode(body, order="deterministic")
    return Retry(keys[0].decode(), hashlib.sha256(asked).hexdigest())


ROUTES: Final[list[Any]] = [create_workspace, list_workspaces, show_workspace]
