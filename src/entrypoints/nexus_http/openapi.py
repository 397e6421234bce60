"""The OpenAPI document, made of what the endpoints promise and of the Structs on the wire.

Written here rather than by Litestar, whose own document has one body of errors for all statuses, no
error codes and no response headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar.routes import BaseRoute, HTTPRoute

from nexus_core.errors import NexusError
from nexus_http.endpoints import Answer, Endpoint, endpoint_of
from nexus_http.examples import EXAMPLES, METRICS, STREAM
from nexus_http.parameters import (
    HEADERS,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    REQUEST_ID,
    path_parameters,
    query_parameters,
)
from nexus_http.problems import CODES
from nexus_http.wire import events
from nexus_http.wire.problem import Problem
from nexus_http.wire.server import Metrics

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = """
Self-hosted development workspaces: isolated Linux containers, opened over SSH.

Every answer carries `X-Request-ID`; a well-formed one that the client sends is kept. Every error has
the same body: a stable `error` code, a `message` that says what to do next, `details` (for a request
that does not fit: what is wrong, by JSON path) and the `request_id`. A method that a path does not have
is answered with 405 and `Allow`; `HEAD` goes with every `GET`. A path that does not exist is answered
with 404 and `not_found`, without asking for a token. Fields and parameters that are not described here
are refused, so that a typo is never silently ignored. What belongs to another user does not exist
(404). Times are RFC 3339 in UTC.
""".strip()
_TAGS: Final = {
    "Users": "People and the SSH keys they open workspaces with.",
    "Tokens": "What programs show to speak for a user.",
    "Workspaces": "Isolated Linux containers, from creation to removal.",
    "Services": "What workspaces run, and the host ports that lead there.",
    "Events": "What happens to workspaces, as it happens.",
    "Server": "How the server itself fares.",
}
_MEANINGS: Final = {
    400: "The request does not fit; `details` says what is wrong, by JSON path.",
    401: "No token was sent, or it is unknown, revoked or expired.",
    403: "The caller, or the token by its scopes, may not do this.",
    404: "There is no such thing, or it is not the caller's to see.",
    405: "What any other method at this path is answered.",
    409: "The request is sound but does not fit the present state.",
    413: "The body is longer than 1 MiB, or an uploaded repository than 512 MiB.",
    415: "The body is not said to be of the type that is wanted.",
    500: "A fault in the server, or something beneath it failed for good.",
    503: "Something is missing now that may be back later.",
}
_PLAIN: Final[dict[Any, tuple[str, dict[str, Any], str]]] = {
    # Bodies that are not JSON.
    str: ("text/plain", {"type": "string"}, "==> npm ci\nadded 217 packages in 4s\n"),
    bytes: ("application/octet-stream", {"type": "string", "format": "binary"}, ""),
    Metrics: ("text/plain", {"type": "string"}, METRICS),
    events.EventStream: (
        "text/event-stream",
        {
            "type": "string",
            "contentMediaType": "text/event-stream",
            # No stream as a whole: this is what the `data` of each event in it is.
            "contentSchema": {"oneOf": [{"$ref": _REF.format(name=kind.__name__)} for kind in events.KINDS]},
        },
        STREAM,
    ),
}
_ALSO: Final[dict[Any, str]] = {Metrics: "application/openmetrics-text"}
"""How a body is written for clients that ask for it."""
_HEADERS_BY_STATUS: Final = {401: ("WWW-Authenticate",), 405: ("Allow",), 503: ("Retry-After",)}
_STATUS_OF: Final = {code: status for status, codes in CODES.items() for code in codes}


def document(routes: Iterable[BaseRoute], version: str) -> dict[str, Any]:
    """The document of these routes; those that are no endpoints of the API are left out."""
    described = sorted(_described(routes), key=lambda one: (one[0], one[1]))
    _, schemas = msgspec.json.schema_components(_types(endpoint for _, _, endpoint in described), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for path, method, endpoint in described:
        paths.setdefault(path, {})[method] = _operation(path, method, endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nexus",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": HEADERS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, `nxs_…`."},
            },
        },
    }


def errors_of(endpoint: Endpoint) -> dict[int, list[str]]:
    """The error codes that the endpoint can answer, by status."""
    codes = {"invalid_request", "method_not_allowed", "internal_error", *endpoint.errors}
    if not endpoint.public:
        codes |= {"unauthorized", "forbidden", "database_busy"}
    if endpoint.body is not None:
        codes |= {"payload_too_large", "unsupported_media_type"}
    found: dict[int, list[str]] = {}
    for code in sorted(codes):
        found.setdefault(_STATUS_OF[code], []).append(code)
    return dict(sorted(found.items()))


def _described(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str, Endpoint]]:
    for route in (one for one in routes if isinstance(one, HTTPRoute)):
        for handler in route.route_handlers:
            endpoint = endpoint_of(handler)
            if endpoint is not None:
                yield from ((route.path_format, method.lower(), endpoint) for method in handler.http_methods)


def _types(endpoints: Iterable[Endpoint]) -> list[Any]:
    found: list[Any] = [Problem]
    for endpoint in endpoints:
        answered = [answer.body for answer in endpoint.answers.values()]
        found += [endpoint.body, *answered, *(events.KINDS if events.EventStream in answered else ())]
    return list(dict.fromkeys(one for one in found if one is not None and one not in _PLAIN))


def _operation(path: str, method: str, endpoint: Endpoint) -> dict[str, Any]:
    words = [word.strip("{}") for word in path.split("/")[3:]]
    parameters = [*path_parameters(path), *query_parameters(endpoint.query), REQUEST_ID]
    if endpoint.idempotency_key:
        parameters.append(IDEMPOTENCY_KEY)
    if endpoint.last_event_id:
        parameters.append(LAST_EVENT_ID)
    operation: dict[str, Any] = {
        "tags": [endpoint.tag],
        "operationId": "_".join([method, *words]).replace("-", "_"),
        "summary": endpoint.summary,
        "description": endpoint.description,
        "security": [] if endpoint.public else [{"token": []}],
        "parameters": parameters,
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": endpoint.body_required, "content": _content(endpoint.body)}
    answers = {status: _answer(answer) for status, answer in endpoint.answers.items()}
    errors = {status: _error(status, codes) for status, codes in errors_of(endpoint).items()}
    operation["responses"] = {str(status): one for status, one in sorted({**errors, **answers}.items())}
    return operation


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.meaning, "headers": _headers(answer.headers)}
    if answer.body is not None:
        described["content"] = _content(answer.body)
    return described


def _content(kind: Any) -> dict[str, Any]:
    if kind in _PLAIN:
        media_type, schema, example = _PLAIN[kind]
        content = {media_type: {"schema": schema, "example": example} if example else {"schema": schema}}
        return {**content, _ALSO[kind]: {"schema": schema}} if kind in _ALSO else content
    schema = {"$ref": _REF.format(name=kind.__name__)}
    return {"application/json": {"schema": schema, "example": EXAMPLES[kind]}}


def _error(status: int, codes: list[str]) -> dict[str, Any]:
    problem = {"$ref": _REF.format(name=Problem.__name__)}
    schema = {"allOf": [problem, {"type": "object", "properties": {"error": {"enum": codes}}}]}
    example = {"error": codes[0], "message": _advice(codes[0]), "details": {}, "request_id": "req-5d0c4be2a1f7"}
    return {
        "description": _MEANINGS[status],
        "headers": _headers(_HEADERS_BY_STATUS.get(status, ())),
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _headers(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names)}


def _advice(code: str) -> str:
    """What the error of this code advises."""
    return next(kind.remedy for kind in _family(NexusError) if kind.code == code)


def _family(kind: type[NexusError]) -> Iterator[type[NexusError]]:
    """Everything below the error, depth first."""
    for child in kind.__subclasses__():
        yield child
        yield from _family(child)
