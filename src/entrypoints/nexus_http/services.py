"""A workspace's services: their forwards, logs and restarts."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core import Caller
from nexus_http.bodies import read_optional_body
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.site import Site
from nexus_http.wire import requests
from nexus_http.wire.services import PortForward, ServiceRestarting, Services

Asking = Request[Caller, Any, Any]

_SERVICE: Final = "/workspaces/{workspace_id:str}/services/{service_name:str}"
_UNKNOWN: Final = ("workspace_not_found", "service_not_found")

LIST = Endpoint(
    tag="Services",
    summary="List a workspace's services",
    description="In the order in which they start.",
    answers={200: Answer("The services.", Services)},
    errors=("workspace_not_found",),
)


@get("/workspaces/{workspace_id:str}/services", opt=LIST.opt, sync_to_thread=False)
def list_services(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> Services:
    """List a workspace's services."""
    return Services.of(site.nexus.show_workspace(request.user, workspace_id), site.forwards_host)


FORWARD = Endpoint(
    tag="Services",
    summary="Forward a service",
    description="Leads a host port to the service from now on, also after the workspace was stopped and started. "
    "A service that is forwarded already is answered with 200, unless another `mapped_port` is asked for.",
    body=requests.ForwardPort,
    body_required=False,
    answers={
        200: Answer("It is forwarded already.", PortForward),
        201: Answer("It is forwarded now.", PortForward),
    },
    errors=(*_UNKNOWN, "workspace_not_running", "port_in_use", "no_ports_available", "provider_unavailable"),
)


@post(f"{_SERVICE}/port-forward", opt=FORWARD.opt)
async def forward_port(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str], service_name: FromPath[str]
) -> Response[PortForward]:
    """Forward a service."""
    body = await read_optional_body(request, requests.ForwardPort)
    opened = await site.nexus.forward_port(request.user, workspace_id, service_name, port=body.mapped_port)
    return Response(PortForward.of(opened, site.forwards_host), status_code=201 if opened.is_new else 200)


CLOSE = Endpoint(
    tag="Services",
    summary="Forward a service no longer",
    description="Also not when the workspace starts again. Connections that are open stay.",
    answers={204: Answer("It is not forwarded any more.")},
    errors=(*_UNKNOWN, "port_forward_not_found"),
)


@delete(f"{_SERVICE}/port-forward", opt=CLOSE.opt)
async def close_forward(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str], service_name: FromPath[str]
) -> None:
    """Forward a service no longer."""
    await site.nexus.close_forward(request.user, workspace_id, service_name)


RESTART = Endpoint(
    tag="Services",
    summary="Restart a service",
    description="Answered when it has stopped and is being started; what depends on it goes on.",
    body=requests.Nothing,
    body_required=False,
    answers={202: Answer("It is being started.", ServiceRestarting)},
    errors=(*_UNKNOWN, "workspace_not_running", "provider_unavailable"),
)


@post(f"{_SERVICE}/restart", opt=RESTART.opt, status_code=202)
async def restart_service(
    request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str], service_name: FromPath[str]
) -> ServiceRestarting:
    """Restart a service."""
    await read_optional_body(request, requests.Nothing)
    service = await site.nexus.restart_service(request.user, workspace_id, service_name)
    return ServiceRestarting(service.workspace_id, service.name, service.status)


ROUTES: Final[list[Any]] = [list_services, forward_port, close_forward, restart_service]
