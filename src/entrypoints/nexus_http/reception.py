"""Where every request enters and every answer leaves, also those that no handler ever sees."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from nexus_core.errors import InternalError, NexusError, NotFound, ProviderUnavailable
from nexus_http.intake import Intake
from nexus_http.meters import HttpMeters
from nexus_http.problems import refusal
from nexus_http.redaction import without_secrets
from nexus_http.visits import Visit, begin

_log = logging.getLogger(__name__)
_requests = logging.getLogger("nexus_http.requests")

_MAX_PATH: Final = 2048
_ROUTED_AS: Final = {
    # HEAD is answered as GET without the body. OPTIONS is routed as a method that nothing has, so
    # that it is answered like any other that is not there: 405 with `Allow`.
    "HEAD": "GET",
    "OPTIONS": "NONE",
}
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Reception:
    """Gives each request its id, logs and measures it when it is answered, and answers where the app could not."""

    def __init__(self, app: ASGIApp, meters: HttpMeters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await send({"type": "websocket.close", "code": 1000, "reason": "there are no websockets here"})
            return
        method = str(scope["method"])
        # A copy, so that the server below still sees the method it was sent.
        routed = cast("HTTPScope", {**scope, "method": _ROUTED_AS.get(method, method)})
        visit = begin(routed, method)
        intake = Intake(routed, receive)
        counter = _Counter(send, visit, intake)
        try:
            if len(scope["path"]) > _MAX_PATH:  # Litestar would keep it in a cache
                await counter.refuse(NotFound("There is nothing at so long an address"))
            else:
                await self._app(routed, intake.receive, counter.send)
        except asyncio.CancelledError:
            # Where the work itself was accepted, the engine goes on with it when the server is back.
            await counter.refuse(ProviderUnavailable("The server is stopping", fix="Look again when it is back."))
            raise
        except Exception:
            if visit.status is not None:  # too late to say anything else
                raise
            _log.exception("a request met a fault", extra={"request_id": visit.request_id})
            await counter.refuse(InternalError("Nexus met a fault of its own"))
        finally:
            _record(routed, visit)
            self._measure(routed, visit)

    def _measure(self, scope: HTTPScope, visit: Visit) -> None:
        self._meters.request_answered(
            method=visit.method if visit.method in _METHODS else "other",
            route=scope.get("path_template") or "none",
            status=visit.status,
            seconds=visit.duration_ms / 1000 if visit.seconds is None else visit.seconds,
            error=visit.error,
        )


class _Counter:
    """Hands answers out, each with its request's id."""

    def __init__(self, send: Send, visit: Visit, intake: Intake) -> None:
        self._send = send
        self._visit = visit
        self._intake = intake

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._visit.answered(message["status"])
            headers = [*message["headers"], (b"x-request-id", self._visit.request_id.encode())]
            message = cast("Message", {**message, "headers": headers})
        elif message["type"] == "http.response.body":
            body = b"" if self._visit.method == "HEAD" else message["body"]
            if self._intake.is_open and not message["more_body"]:
                # The answer goes out at once; it ends, and with it perhaps the connection, when no more comes in.
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
                await self._intake.finish()
                body = b""
            message = {"type": "http.response.body", "body": body, "more_body": message["more_body"]}
        await self._send(message)

    async def refuse(self, error: NexusError) -> None:
        """Answer with the error, unless an answer is under way already."""
        if self._visit.status is not None:
            return
        answer = refusal(error, self._visit.request_id)
        self._visit.error = answer.problem.error
        body = msgspec.json.encode(answer.problem)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def _record(scope: HTTPScope, visit: Visit) -> None:
    """Write the request's line; the query stays out, for clients put secrets there."""
    described: dict[str, Any] = {
        "request_id": visit.request_id,
        "method": visit.method[:20],
        "path": without_secrets(scope["path"][:200]),
        "route": scope.get("path_template"),
        "status": visit.status,
        "duration_ms": visit.duration_ms,
        "caller": visit.caller,
    }
    workspace_id = visit.workspace_id or scope.get("path_params", {}).get("workspace_id")
    if workspace_id:
        described["workspace_id"] = without_secrets(workspace_id[:60])
    if visit.error:
        described["error"] = visit.error
    _requests.info("request", extra=described)
