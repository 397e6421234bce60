"""Watching what the server does until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from typing import Any, Final, Protocol

from nexus_cli.api import Api
from nexus_cli.errors import Refused, ServerUnreachable
from nexus_cli.event_stream import NoStream, Told, told

_COMING_UP = frozenset({"pending", "creating", "starting"})
# Seconds. Looked at five times a second at first, for most are up within a few; later every second.
_OFTEN: Final = 0.2
_OFTEN_UNTIL: Final = 15.0
_SELDOM: Final = 1.0
_WITHOUT_SERVER: Final = 60.0


class View(Protocol):
    """Who is shown how far the workspace is."""

    def update(self, workspace: dict[str, Any]) -> None:
        """The workspace as it is now; called again and again."""
        ...

    def away(self, seconds: float) -> None:
        """The server has not answered for this long; watching goes on."""
        ...


def follow(api: Api, identifier: str, view: View) -> dict[str, Any]:
    """The workspace once it is not on its way up any more; raises what `looks` raises.

    While it waits for its turn it is looked at, for its place in the queue; then its events are followed, from
    the beginning of the operation. A server without such a stream is looked at again and again instead.
    """
    workspace = _looked_at(api, identifier, view, while_in=frozenset({"pending"}))
    try:
        with closing(_streamed(api, identifier, workspace, view)) as states:
            for one in states:
                workspace = one
    except NoStream:
        workspace = _looked_at(api, identifier, view, while_in=_COMING_UP)
    return workspace


def _looked_at(api: Api, identifier: str, view: View, *, while_in: Collection[str]) -> dict[str, Any]:
    """The workspace as soon as it is in none of these."""
    for workspace in looks(lambda: api.get("workspaces", identifier, "status"), view.away):
        view.update(workspace)
        if workspace["status"] not in while_in:
            return workspace
    raise AssertionError("looks do not end")  # pragma: no cover  # for the type checkers


def _streamed(api: Api, identifier: str, workspace: dict[str, Any], view: View) -> Generator[dict[str, Any]]:
    """The workspace after each of its events, until it is not on its way up any more."""
    if workspace["status"] not in _COMING_UP:
        return
    events = told(api, "workspaces", identifier, "events", after=None, away=view.away, patience=_WITHOUT_SERVER)
    with closing(events):
        for one in events:
            if one is not None and one.kind == "step":
                workspace = _after_step(workspace, one.data)
                view.update(workspace)
            elif one is None or _is_more_to_know(one):
                workspace = _looked_at(api, identifier, view, while_in=())
            yield workspace
            if workspace["status"] not in _COMING_UP:
                return


def _is_more_to_know(one: Told) -> bool:
    """Whether it ends the way up, or leaves something out: what is so now only the workspace itself says."""
    return one.kind != "service" and one.data.get("status") not in _COMING_UP


def _after_step(workspace: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """The workspace with the step as the event has it, unless more is known of it already."""

    def newer(known: dict[str, Any]) -> dict[str, Any]:
        if known["step"] != step["step"] or _rank(step) < _rank(known):
            return known
        return {**known, **{name: step[name] for name in ("status", "duration_ms", "error")}}

    return {**workspace, "progress": [newer(known) for known in workspace["progress"]]}


def _rank(step: dict[str, Any]) -> int:
    return {"pending": 0, "running": 1}.get(step["status"], 2)


def looks(ask: Callable[[], dict[str, Any]], away: Callable[[float], None]) -> Iterator[dict[str, Any]]:
    """What the server answers, again and again, for as long as the caller wants to know.

    A server that is away for up to a minute is waited for: what it has accepted goes on when it is
    back. Raises `ServerUnreachable` after that, and `Refused` when what is asked for is gone.
    """
    began = answered = time.monotonic()
    while True:
        try:
            answer = ask()
        except ServerUnreachable:
            if time.monotonic() - answered > _WITHOUT_SERVER:
                raise
            away(time.monotonic() - answered)
        except Refused as refused:
            if refused.status not in (429, 503) or time.monotonic() - answered > _WITHOUT_SERVER:
                raise
            away(time.monotonic() - answered)
        else:
            answered = time.monotonic()
            yield answer
        time.sleep(_OFTEN if time.monotonic() - began < _OFTEN_UNTIL else _SELDOM)
