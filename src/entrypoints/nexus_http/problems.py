"""From an error to the answer that clients get: its status, its headers and the one envelope."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from nexus_core.errors import (
    Conflict,
    Failed,
    Forbidden,
    InternalError,
    Invalid,
    InvalidRequest,
    NexusError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from nexus_http.errors import MethodNotAllowed, PayloadTooLarge, UnsupportedMediaType
from nexus_http.redaction import without_paths, without_secrets
from nexus_http.visits import visit_of
from nexus_http.wire.problem import Problem

_log = logging.getLogger(__name__)

STATUSES: Final[Mapping[type[NexusError], int]] = {
    # An error has the status of the nearest of its ancestors in this table.
    Invalid: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    Failed: 500,
    Unavailable: 503,
}

CODES: Final[Mapping[int, frozenset[str]]] = {
    # What clients may rely on; any other code is a matter of ours and is shown as `internal_error`.
    400: frozenset(
        {
            "invalid_request",
            "invalid_ssh_key",
            "fingerprint_mismatch",
            "invalid_service_graph",
            "unknown_provider",
            "unknown_image",
        }
    ),
    401: frozenset({"unauthorized"}),
    403: frozenset({"forbidden", "quota_exceeded"}),
    404: frozenset(
        {
            "not_found",
            "user_not_found",
            "workspace_not_found",
            "service_not_found",
            "port_forward_not_found",
            "token_not_found",
        }
    ),
    405: frozenset({"method_not_allowed"}),
    409: frozenset(
        {
            "user_already_registered",
            "ssh_key_in_use",
            "workspace_already_exists",
            "invalid_status_transition",
            "workspace_running",
            "workspace_already_stopped",
            "workspace_not_running",
            "port_in_use",
            "idempotency_conflict",
        }
    ),
    413: frozenset({"payload_too_large"}),
    415: frozenset({"unsupported_media_type"}),
    429: frozenset({"rate_limited"}),
    500: frozenset({"internal_error"}),
    503: frozenset({"no_ports_available", "provider_unavailable", "identity_unavailable", "database_busy"}),
}


class Refusal(msgspec.Struct, frozen=True):
    """An error as it is answered."""

    status: int
    headers: dict[str, str]
    problem: Problem


def refusal(error: NexusError, request_id: str) -> Refusal:
    """The answer to this error; what is not in the table of codes becomes an `internal_error`."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)
    if status != 500 and error.code not in CODES[status]:
        status = 500
    if status == 500:
        return Refusal(500, {}, _internal(error, request_id))
    details = _clean(error.details)
    problem = Problem(error.code, without_secrets(error.message), details, request_id)
    return Refusal(status, _headers(error), problem)


def _internal(error: NexusError, request_id: str) -> Problem:
    if not isinstance(error, Failed) or error.code == InternalError.code:
        error = InternalError("Nexus met a fault of its own")
    details = {} if error.code == InternalError.code else {"cause": error.code}
    return Problem(InternalError.code, without_paths(without_secrets(error.message)), details, request_id)


def _headers(error: NexusError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allow)}
    return {}


def _clean(details: Mapping[str, Any]) -> dict[str, Any]:
    encoded = msgspec.json.encode(details).decode()
    cleaned = without_secrets(encoded)
    # Only a client that puts a secret into a field's name or value has it cut out here.
    return dict(details) if cleaned == encoded else {"$": "a value that looks like a secret is not repeated here"}


def _from_litestar(request: Request[Any, Any, Any], error: HTTPException) -> NexusError:
    if error.status_code == 404:
        return NotFound(f"There is nothing at {request.scope['path'][:100]!r}", fix="See /schema for what there is.")
    if error.status_code == 405:
        # Litestar names its own OPTIONS, which nobody can reach, and not the HEAD that goes with GET.
        named = set((error.headers or {}).get("allow", "").split(", ")) - {"OPTIONS"}
        return MethodNotAllowed(visit_of(request.scope).method, named | ({"HEAD"} if "GET" in named else set()))
    return InvalidRequest(error.detail)


def _answer(request: Request[Any, Any, Any], error: NexusError) -> Response[Problem]:
    visit = visit_of(request.scope)
    answer = refusal(error, visit.request_id)
    visit.error = answer.problem.error
    if answer.status >= 500:
        extra = {"request_id": visit.request_id, "code": error.code}
        _log.log(logging.ERROR if answer.status == 500 else logging.WARNING, "%s", error, extra=extra)
    return Response(answer.problem, status_code=answer.status, headers=answer.headers, media_type="application/json")


def _on_nexus_error(request: Request[Any, Any, Any], error: NexusError) -> Response[Problem]:
    return _answer(request, error)


def _on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    if error.status_code >= 500:
        return _on_fault(request, error)
    return _answer(request, _from_litestar(request, error))


def _on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    request_id = visit_of(request.scope).request_id
    _log.error("a request met a fault", exc_info=error, extra={"request_id": request_id})
    return _answer(request, InternalError("Nexus met a fault of its own"))


HANDLERS: Final[ExceptionHandlersMap] = {
    NexusError: _on_nexus_error,
    HTTPException: _on_http_error,
    Exception: _on_fault,
}
