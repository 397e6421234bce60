"""How the server is."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get
from litestar.di import NamedDependency

from nexus_core import Caller
from nexus_core.errors import DatabaseBusy
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.site import Site
from nexus_http.wire.server import ServerHealth, ServerStatus

Asking = Request[Caller, Any, Any]

HEALTH = Endpoint(
    tag="Server",
    summary="Whether the server can work",
    description="Needs no token. `degraded` while a node is away, which is still 200. The body is the same at 503.",
    public=True,
    answers={
        200: Answer("`ok` or `degraded`.", ServerHealth),
        503: Answer("`unavailable`: the database cannot be written.", ServerHealth, headers=("Retry-After",)),
    },
)


@get("/health", opt=HEALTH.opt, sync_to_thread=False)
def show_health(site: NamedDependency[Site]) -> Response[ServerHealth]:
    """Whether the server can work."""
    health = site.nexus.show_server.health()
    body = ServerHealth.of(health, site.version)
    if health.status == "unavailable":
        return Response(body, status_code=503, headers={"Retry-After": str(DatabaseBusy.retry_after)})
    return Response(body, status_code=200)


STATUS = Endpoint(
    tag="Server",
    summary="The server in figures",
    description="Health, and figures of the whole server without a name in them.",
    answers={200: Answer("The figures.", ServerStatus)},
)


@get("/status", opt=STATUS.opt, sync_to_thread=False)
def show_status(request: Asking, site: NamedDependency[Site]) -> ServerStatus:
    """The server in figures."""
    return ServerStatus.whole(site.nexus.show_server(), site.version)


PUBLIC: Final[list[Any]] = [show_health]
ROUTES: Final[list[Any]] = [show_status]
