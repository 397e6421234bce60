"""What the server did and how it fares, for Prometheus."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from nexus_core import Caller, Nexus
from nexus_core.domain.token import digest
from nexus_core.errors import DatabaseBusy, Forbidden, StoreFailed, Unauthorized
from nexus_http.auth import authenticate, bearer_token
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.site import Site
from nexus_http.wire.server import Metrics

_REMEMBERED: Final = 16

METRICS = Endpoint(
    tag="Server",
    summary="The server for Prometheus",
    description="What was counted and timed since the server began, and its figures at this moment: of the whole "
    "server, without a name. Needs no token where the setting `metrics_open` says so. While the database is away, "
    "what only it knows is left out, and a token that was valid when it was last looked at still is. OpenMetrics "
    "where `Accept` names it.",
    answers={200: Answer("Every metric.", Metrics)},
)


@get("/metrics", opt=METRICS.opt, sync_to_thread=False)
def show_metrics(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> ASGIApp:
    """The server for Prometheus."""
    health, status = site.nexus.show_server.known()
    accept = request.headers.get("accept", "")
    content_type, page = site.meters.page(health, status, version=site.version, accept=accept)
    return ASGIResponse(body=page, headers={"content-type": content_type})


class Scrapers:
    """Knows who may look, also while the database, in which the tokens are, does not answer.

    A scrape that fails with the database would hide all else that happens then.
    """

    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus
        self._admitted: OrderedDict[str, Caller] = OrderedDict()

    def __call__(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller; raises as `authenticate` does, but for a database that is away if the token was valid before."""
        token = digest(bearer_token(request.scope["headers"]))
        try:
            caller = authenticate(self._nexus, request)
        except (Unauthorized, Forbidden):
            self._admitted.pop(token, None)
            raise
        except (DatabaseBusy, StoreFailed):
            if token not in self._admitted:
                raise
            return self._admitted[token]
        self._admitted[token] = caller
        self._admitted.move_to_end(token)
        if len(self._admitted) > _REMEMBERED:
            self._admitted.popitem(last=False)
        return caller


ROUTES: Final[list[Any]] = [show_metrics]
