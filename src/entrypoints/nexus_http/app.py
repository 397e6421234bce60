"""The HTTP application: routes, and what surrounds every one of them."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Router
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from nexus_core import Nexus
from nexus_http import documentation, moves, problems, server_status, users, workspaces
from nexus_http.auth import authenticate
from nexus_http.endpoints import endpoint_of
from nexus_http.queries import read_query
from nexus_http.reception import Reception
from nexus_http.site import Site
from nexus_http.wire.fields import BASE


def create_app(nexus: Nexus, *, public_host: str, version: str) -> Litestar:
    """The application that lets HTTP clients drive this Nexus.

    ``public_host`` is the name that people put into `ssh`. Opening and closing ``nexus`` stays
    the caller's business: the application has no lifespan of its own.
    """
    site = Site(nexus, public_host, version)
    needing_token = [*users.ROUTES, *workspaces.ROUTES, *moves.ROUTES, *server_status.ROUTES]
    app = Litestar(
        route_handlers=[
            Router(BASE, route_handlers=server_status.PUBLIC, guards=[_guard(None)]),
            Router(BASE, route_handlers=needing_token, guards=[_guard(nexus)]),
            *documentation.ROUTES,
        ],
        dependencies={"site": Provide(lambda: site, sync_to_thread=False)},
        exception_handlers=problems.HANDLERS,
        openapi_config=None,  # Litestar's own document knows neither our errors nor our headers
        logging_config=None,
    )
    app.asgi_handler = Reception(app.asgi_handler)
    return app


def _guard(nexus: Nexus | None) -> Guard:
    """What stands before every endpoint: first who is asking, where a token is needed, then what is asked.

    The caller is `request.user` from then on. It is one guard, not two, because Litestar copies the
    handler for each.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if nexus is not None:
            connection.scope["user"] = authenticate(nexus, connection)
        endpoint = endpoint_of(handler)
        if endpoint is not None and connection.scope["query_string"]:
            read_query(connection, endpoint.query)

    return guard
