"""The API's own description: the OpenAPI document, and a page that shows it without any other server."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core.errors import NotFound
from nexus_http.openapi import document
from nexus_http.site import Site

_TYPES: Final = {
    "index.html": "text/html",
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_HEADERS: Final = {
    # The page loads nothing from anywhere else, and the browser holds it to that.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@get("/schema/openapi.json", sync_to_thread=False)
def show_document(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[bytes]:
    """The OpenAPI document."""
    state = request.app.state
    if "document" not in state:  # anybody may ask for it, and it takes milliseconds to make
        state.document = msgspec.json.encode(document(request.app.routes, site.version))
    return Response(state.document, media_type="application/json")


@get("/schema", sync_to_thread=False)
def show_page() -> Response[bytes]:
    """The page that shows the document."""
    return _file("index.html")


@get("/schema/{name:str}", sync_to_thread=False)
def show_part(name: FromPath[str]) -> Response[bytes]:
    """A file that the page is made of."""
    if name not in _TYPES:
        raise NotFound(f"There is no {name[:60]!r} here", fix="The page is /schema.")
    return _file(name)


def _file(name: str) -> Response[bytes]:
    return Response(_content(name), media_type=_TYPES[name], headers=_HEADERS)


@cache
def _content(name: str) -> bytes:
    return files("nexus_http").joinpath("static", name).read_bytes()


ROUTES: Final[list[Any]] = [show_document, show_page, show_part]
