"""One TCP connection: limits on what comes before a request's body, and errors in the one envelope."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nexus_core.errors import InvalidRequest
from nexus_http import readers
from nexus_http.problems import refusal
from nexus_http.visits import new_request_id

_log = logging.getLogger(__name__)

MAX_HEAD: Final = 64 * 1024
"""Most bytes of request line and headers, as far as they arrive in pieces."""
HEAD_PATIENCE: Final = 20.0
"""Seconds that a client has for request line and headers, from connecting or from their first byte."""


STALLED: Final = 2.0
"""Seconds that a client may take nothing of its answer for once the server is told to stop."""
MOST: Final = 4096
"""Connections at a time, or half as many as the process may have open files; beyond, idle ones make room."""
LAST_WORD: Final = 1.0
"""Seconds that a connection without a request so far may still send one once the server is told to stop."""
UNSENT: Final = 128 * 1024
"""Most bytes that the kernel keeps for a client beyond those it has room for: it tells sooner that nothing is taken."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, which by itself waits for the end of a request's head without end or bound."""

    _head: int = 0
    _in_head: bool = True
    _timer: asyncio.TimerHandle | None = None
    _last_look: asyncio.TimerHandle | None = None
    _has_asked: bool = False
    _is_last: bool = False
    idle_since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        # An answer goes out as two pieces; without this the second waits 40 ms for the first one's
        # receipt. asyncio sees to it only for sockets that were made with the protocol's number.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Who follows a log and vanishes without a word is otherwise never missed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self.idle_since = self.loop.time()
        self._await_head()
        if len(self.connections) > min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2):
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        if self._last_look is not None:
            self._last_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The request's headers are longer than {MAX_HEAD:,} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {readers.EXTENSION: self}  # type: ignore[dict-item]  # ours, not one of ASGI's own
        if not self._in_head:
            self._head = 0
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()
        self._has_asked = True
        if self._is_last:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        if self._has_asked:
            super().shutdown()
        else:
            # The kernel took it for us, and its request is on the way: a reset would be all the answer it gets.
            self._is_last = True
            self._head_is_here()
            self._in_head = True
            self._timer = self.loop.call_later(LAST_WORD, self.transport.close)
        self._look_again(STALLED)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way here."""
        return not self._has_asked or self.cycle.response_complete

    def _make_room(self) -> None:
        """Close the connection that has been of no use for the longest, so that this one is served."""
        others = (one for one in self.connections if isinstance(one, Connection) and one is not self)
        idle = (one for one in others if one.is_idle and not one.transport.is_closing())
        longest = min(idle, key=lambda one: one.idle_since, default=self)
        longest.transport.close()

    def untaken(self) -> int:
        """How many bytes of an answer wait for the client to take them."""
        waiting: int = self.transport.get_write_buffer_size()
        return waiting

    def dismiss(self) -> None:
        """Let the end of the answer pass, and let go of a client that does not take it either."""
        self.cycle.keep_alive = False
        self.flow.resume_writing()
        self._look_again(readers.PATIENCE)

    def _look_again(self, patience: float) -> None:
        if self._last_look is not None:
            self._last_look.cancel()
        self._last_look = self.loop.call_later(patience, self._drop_if_stalled, self.untaken(), patience)

    def _drop_if_stalled(self, before: int, patience: float) -> None:
        """Let go of a client that has stopped reading: the rest of its answer would never be taken."""
        if 0 < before <= self.untaken():
            self.transport.abort()
        else:
            self._look_again(patience)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, and close the connection."""
        answer = refusal(InvalidRequest(msg), new_request_id())
        body = msgspec.json.encode(answer.problem)
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {answer.problem.request_id}\r\nconnection: close\r\n\r\n"
        )
        _log.info("not a request: %s", msg, extra={"request_id": answer.problem.request_id, "status": 400})
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._in_head = True
        self._timer = self.loop.call_later(HEAD_PATIENCE, self.transport.close)

    def _head_is_here(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
