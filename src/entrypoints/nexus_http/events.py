"""What happens to workspaces, as server-sent events."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from nexus_core import Caller
from nexus_core.errors import InvalidRequest
from nexus_core.usecases.watch_events import Gap, Silence, Told
from nexus_http import readers
from nexus_http.auth import authenticate
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.following import Following
from nexus_http.queries import read_query
from nexus_http.site import Site
from nexus_http.visits import visit_of
from nexus_http.wire import events, requests

_log = logging.getLogger(__name__)

Asking = Request[Caller, Any, Any]

_NUMBER: Final = re.compile(rb"[0-9]{1,20}")
_LAST: Final = 2**63 - 1
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # what nginx would otherwise collect before it passes it on
)
# Neither is followed by an empty line: it would end an event, and some clients make an empty one of it.
_RETRY: Final = b"retry: 1000\n"
_HEARTBEAT: Final = b": heartbeat\n"

_HOW: Final = (
    "The answer goes on until you hang up: for each event its `id`, its kind as `event` (`status`, `step` or "
    "`service`), and its `data` in JSON on one line. There is a comment, `: heartbeat`, at the beginning and after "
    "every 15 seconds of silence.\n\n"
    "With `Last-Event-ID` it goes on after that event: nothing is left out and nothing is told twice, however long "
    "you were away. Where that cannot be held, because what happened then is not kept any more or the server's "
    "database was restored, an event `gap` comes first, whose `data` says which ids are kept: read the workspaces "
    "afresh.\n\n"
    "The server ends the answer when it stops and when the token is revoked or expires. It also does when nothing is "
    "taken from the connection for 30 seconds; the last thing in it is then an event `dropped`. Connect again, with "
    "`Last-Event-ID`, and nothing is lost."
)

EVENTS = Endpoint(
    tag="Events",
    summary="Follow what happens",
    description="To the user's own workspaces, or to everyone's for the administrator. Without `Last-Event-ID` it "
    f"begins now.\n\n{_HOW}",
    query=requests.EventsQuery,
    last_event_id=True,
    answers={200: Answer("What happens, as it happens.", events.EventStream)},
)
WORKSPACE_EVENTS = Endpoint(
    tag="Events",
    summary="Follow what happens to a workspace",
    description="Without `Last-Event-ID` it begins with what the workspace's present or last operation began with, so "
    "that who creates a workspace and then follows it misses nothing. It ends after the event that tells of the "
    f"workspace's deletion.\n\n{_HOW}",
    query=requests.EventsQuery,
    last_event_id=True,
    answers={200: Answer("What happens, as it happens.", events.EventStream)},
    errors=("workspace_not_found",),
)


@get("/events", opt=EVENTS.opt)
async def follow_events(request: Asking, site: NamedDependency[Site]) -> ASGIApp:
    """Follow what happens."""
    return _stream(request, site, None)


@get("/workspaces/{workspace_id:str}/events", opt=WORKSPACE_EVENTS.opt)
async def follow_workspace(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> ASGIApp:
    """Follow what happens to a workspace."""
    return _stream(request, site, workspace_id)


def _stream(request: Asking, site: Site, workspace_id: str | None) -> ASGIApp:
    told = site.nexus.watch_events(
        request.user, workspace_id, after=_after(request), admitted=lambda: authenticate(site.nexus, request)
    )
    if visit_of(request.scope).method == "HEAD":
        return Following(_nothing(), site.stopping, headers=_HEADERS)
    stream = _Stream(told, visit_of(request.scope).request_id)
    return Following(stream.pieces(), site.stopping, headers=_HEADERS, farewell=stream.farewell)


def _after(request: Asking) -> int | None:
    """The last event that the client knows."""
    query = read_query(request, requests.EventsQuery)
    sent = [value for name, value in request.scope["headers"] if name == b"last-event-id"]
    if not sent:
        return query.last_event_id
    if len(sent) > 1 or not _NUMBER.fullmatch(sent[0]):
        reason = "must be the id of an event, a whole number"
        raise InvalidRequest("The Last-Event-ID cannot be used", details={"Last-Event-ID": reason})
    return min(int(sent[0]), _LAST)


class _Stream:
    """One client's events as they go over the wire."""

    def __init__(self, told: AsyncGenerator[Told, None], request_id: str) -> None:
        self._told = told
        self._request_id = request_id
        self._cursor = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What is sent; whoever asks for the next piece has sent the one before."""
        before = _RETRY
        async with aclosing(self._told) as told:
            async for one in told:
                yield before + _written(one)
                before = b""
                self._cursor = one.cursor

    def farewell(self) -> bytes:
        """What a client is told that has not taken anything for too long."""
        extra = {"request_id": self._request_id, "last_event_id": self._cursor}
        _log.info("dropped a reader that took nothing for %g s", readers.PATIENCE, extra=extra)
        reason = f"Nothing was taken from this connection for {readers.PATIENCE:g} seconds."
        marker = events.DroppedMarker(kind="dropped", last_event_id=self._cursor, reason=reason)
        return _block(self._cursor, "dropped", marker)


def _written(one: Told) -> bytes:
    if isinstance(one, Silence):
        return _HEARTBEAT
    if isinstance(one, Gap):
        return _block(one.cursor, "gap", events.GapMarker.of(one))
    return b"".join(_block(event.id, event.kind, events.told(event)) for event in one.events)


def _block(identifier: int, kind: str, data: Any) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (identifier, kind.encode(), msgspec.json.encode(data))


async def _nothing() -> AsyncGenerator[bytes, None]:
    """The body of an answer to HEAD."""
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


ROUTES: Final[list[Any]] = [follow_events, follow_workspace]
