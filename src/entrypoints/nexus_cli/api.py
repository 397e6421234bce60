"""The HTTP API as the commands use it: JSON in and out, errors as exceptions, patience where it is safe."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

from nexus_cli.errors import Refused, ServerUnreachable
from nexus_cli.wire import Answer, ConnectionLost, Server, send, streamed

TRIES: Final = 3
LONGEST_PAUSE: Final = 5.0
"""Seconds: a server that asks for more time than this gets no second try, and the caller an answer."""
PAGE: Final = 200
SLOW: Final = 300.0
"""Seconds that stopping, deleting and exchanging a key may take: they answer when the work is done."""

_SILENCE: Final = 20.0
"""Seconds after which an event stream without a sign of life is taken for broken; there is one every 15."""

_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})


class Api:
    """Asks one server on behalf of the token's holder.

    Requests that may safely be repeated are tried up to three times: where the server answers 503
    with a Retry-After, and where the connection broke under way. Raises `Refused` for an answer of
    400 and above, and `ServerUnreachable` where nobody, or no Nexus, answers.
    """

    def __init__(self, server: Server, token: str | None, *, quiet: bool = False) -> None:
        self._server = server
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._quiet = quiet

    def get(self, *path: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """What is there."""
        return self.request("GET", *path, query=query)

    def post(self, *path: str, body: Any = None, key: str | None = None, timeout: float = 30.0) -> Any:
        """What came of it; with an Idempotency-Key it is tried again where that may help."""
        return self.request("POST", *path, body=body, key=key, timeout=timeout)

    def put(self, *path: str, body: Any, timeout: float = 30.0) -> Any:
        """What is there now; ``body`` may be an `nexus_cli.wire.Upload`."""
        return self.request("PUT", *path, body=body, timeout=timeout)

    def delete(self, *path: str, query: Mapping[str, str | int | None] | None = None, timeout: float = 30.0) -> None:
        """It is gone; also where it was so already, after a try whose answer did not come through."""
        try:
            self.request("DELETE", *path, query=query, timeout=timeout)
        except Refused as refused:
            if not (refused.status == 404 and refused.tries > 1):
                raise

    def workspaces(self, *, owner: str | None = None, status: str | None = None) -> Iterator[dict[str, Any]]:
        """Every workspace the caller may see, newest first, page by page."""
        offset = 0
        while True:
            query = {"owner": owner, "status": status, "limit": PAGE, "offset": offset}
            page = self.get("workspaces", query=query)
            yield from page["workspaces"]
            offset += len(page["workspaces"])
            if not page["workspaces"] or offset >= page["total"]:
                return

    @contextmanager
    def text(self, *path: str, query: Mapping[str, str | int | None] | None = None) -> Generator[Iterator[bytes]]:
        """Text as it comes, for as long as the server has some; asked for once."""
        with self._streamed(_target(path, query), "text/plain", self._headers, None) as pieces:
            yield pieces

    @contextmanager
    def events(self, *path: str, after: int | None = None) -> Generator[Iterator[bytes]]:
        """What a stream of events sends, from the event after this one on; asked for once."""
        headers = self._headers if after is None else {**self._headers, "Last-Event-ID": str(after)}
        with self._streamed(_target(path, None), "text/event-stream", headers, _SILENCE) as pieces:
            yield pieces

    @contextmanager
    def _streamed(
        self, target: str, kind: str, headers: Mapping[str, str], silence: float | None
    ) -> Generator[Iterator[bytes]]:
        try:
            with streamed(self._server, target, headers=headers, timeout=30.0, accept=kind, silence=silence) as (
                answer,
                pieces,
            ):
                if answer.status >= 300:
                    self._understood(answer, 1)
                elif not answer.headers.get("content-type", "").startswith(kind):
                    raise self._stranger(answer)
                yield pieces
        except ConnectionLost as exc:
            raise self._lost(exc) from exc

    def health(self) -> dict[str, Any]:
        """What /health says, also where it says that the server is not well (503)."""
        try:
            answer = send(self._server, "GET", "/health", headers=self._headers)
        except ConnectionLost as exc:
            raise self._lost(exc) from exc
        content = self._parsed(answer)
        if answer.status == 503 and isinstance(content, dict) and "uptime_seconds" in content:
            return content
        health: dict[str, Any] = self._understood(answer, 1)
        return health

    def request(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str | int | None] | None = None,
        body: Any = None,
        key: str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """Send a request to ``/api/v1/`` and the path's parts; the JSON of the answer, None if it has no body."""
        target = _target(path, query)
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        repeatable = method in _IDEMPOTENT or key is not None
        for tried in range(1, TRIES + 1):
            last = not repeatable or tried == TRIES
            try:
                answer = send(self._server, method, target, headers=headers, body=body, timeout=timeout)
            except ConnectionLost as exc:
                if last:
                    raise self._lost(exc) from exc
                self._pause(1.0, "the connection broke")
                continue
            pause = _retry_after(answer)
            if answer.status != 503 or last or pause is None or pause > LONGEST_PAUSE:
                return self._understood(answer, tried)
            self._pause(pause, "the server cannot do it now")
        raise AssertionError("the last try returns or raises")  # pragma: no cover  # for the type checkers

    def _understood(self, answer: Answer, tries: int) -> Any:
        content = self._parsed(answer)
        if answer.status < 300:
            return content
        if not (isinstance(content, dict) and content.keys() >= {"error", "message", "details", "request_id"}):
            raise self._stranger(answer)
        raise Refused(answer.status, content, tries=tries)

    def _parsed(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.body) if answer.body else None
        except ValueError as exc:
            raise self._stranger(answer) from exc

    def _stranger(self, answer: Answer) -> ServerUnreachable:
        why = f"It answered {answer.status}, but not as Nexus does."
        return ServerUnreachable(f"No Nexus server answers at {self._server.url}", why=why)

    def _lost(self, exc: ConnectionLost) -> ServerUnreachable:
        fix = "Look at what became of it (`nexus ls`), and whether `nexus serve` is still running."
        return ServerUnreachable(f"The connection to {self._server.url} broke", why=f"{exc}.", fix=fix)

    def _pause(self, seconds: float, reason: str) -> None:
        if not self._quiet:
            from nexus_cli.screen import note

            note(f"{reason}; trying again in {seconds:g} s")
        time.sleep(seconds)


def _target(path: Sequence[str], query: Mapping[str, str | int | None] | None) -> str:
    target = "".join(f"/{quote(part, safe='')}" for part in path)
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{target}?{urlencode(asked)}" if asked else target


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() else None
