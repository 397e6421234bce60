"""The HTTP application: routes, and what surrounds every one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.types import BeforeRequestHookHandler

from nexus_core import Caller, Nexus
from nexus_http import (
    documentation,
    events,
    logs,
    metrics,
    moves,
    problems,
    server_status,
    services,
    uploads,
    users,
    workspaces,
)
from nexus_http.auth import authenticate
from nexus_http.endpoints import endpoint_of
from nexus_http.meters import HttpMeters
from nexus_http.queries import read_query
from nexus_http.reception import Reception
from nexus_http.site import Site
from nexus_http.wire.fields import BASE


def create_app(
    nexus: Nexus, *, public_host: str, version: str, meters: HttpMeters, metrics_open: bool = False
) -> Litestar:
    """The application that lets HTTP clients drive this Nexus.

    ``public_host`` is the name that people put into `ssh`; ``meters`` are told of every request and show
    themselves at `/metrics`, without a token if ``metrics_open``. Opening and closing ``nexus`` stays
    the caller's business: the application has no lifespan of its own.
    """
    site = Site(nexus, public_host, version, meters)
    resources = (users, workspaces, moves, services, logs, events, uploads, server_status)
    needing_token = [route for resource in resources for route in resource.ROUTES]
    app = Litestar(
        route_handlers=[
            Router(BASE, route_handlers=server_status.PUBLIC, before_request=_door(None)),
            Router(BASE, route_handlers=needing_token, before_request=_door(partial(authenticate, nexus))),
            Router(
                BASE,
                route_handlers=metrics.ROUTES,
                before_request=_door(None if metrics_open else metrics.Scrapers(nexus)),
            ),
            *documentation.ROUTES,
        ],
        dependencies={"site": Provide(lambda: site, sync_to_thread=False)},
        exception_handlers=problems.HANDLERS,
        openapi_config=None,  # Litestar's own document knows neither our errors nor our headers
        logging_config=None,
        debug=False,  # left out, these two are taken from the environment
        pdb_on_exception=False,
    )
    app.state.stopping = site.stopping
    app.asgi_handler = Reception(app.asgi_handler, meters)
    return app


def _door(admit: Callable[[Request[Any, Any, Any]], Caller] | None) -> BeforeRequestHookHandler:
    """What stands before every endpoint: first who is asking, where a token is needed, then what is asked.

    The caller is `request.user` from then on. A hook, not a guard: Litestar copies the handler for
    every call of a guard, a tenth of what a read costs.
    """

    async def enter(request: Request[Any, Any, Any]) -> None:
        if admit is not None:
            request.scope["user"] = admit(request)
        endpoint = endpoint_of(request.route_handler)
        if endpoint is not None and request.scope["query_string"]:
            read_query(request, endpoint.query)

    return enter
