"""Watching what the server does until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from nexus_cli.api import Api
from nexus_cli.errors import Refused, ServerUnreachable

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
    """The workspace once it is not on its way up any more; raises what `looks` raises."""
    for workspace in looks(lambda: api.get("workspaces", identifier, "status"), view.away):
        view.update(workspace)
        if workspace["status"] not in _COMING_UP:
            return workspace
    raise AssertionError("looks do not end")  # pragma: no cover  # for the type checkers


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
