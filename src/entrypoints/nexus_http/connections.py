"""One TCP connection: limits on what comes before a request's body, and errors in the one envelope."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nexus_core.errors import InvalidRequest
from nexus_http.problems import refusal
from nexus_http.visits import new_request_id

_log = logging.getLogger(__name__)

MAX_HEAD: Final = 64 * 1024
"""Most bytes of request line and headers, as far as they arrive in pieces."""
HEAD_PATIENCE: Final = 20.0
"""Seconds that a client has for request line and headers, from connecting or from their first byte."""


STALLED: Final = 2.0
"""Seconds that a client may take nothing of its answer for once the server is told to stop."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, which by itself waits for the end of a request's head without end or bound."""

    _head: int = 0
    _in_head: bool = True
    _timer: asyncio.TimerHandle | None = None
    _last_look: asyncio.TimerHandle | None = None

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
        self._await_head()

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
        if not self._in_head:
            self._head = 0
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def shutdown(self) -> None:
        super().shutdown()
        self._look_again()

    def _look_again(self) -> None:
        waiting: int = self.transport.get_write_buffer_size()
        self._last_look = self.loop.call_later(STALLED, self._drop_if_stalled, waiting)

    def _drop_if_stalled(self, before: int) -> None:
        """Let go of a client that has stopped reading: the rest of its answer would never be taken."""
        if 0 < before <= self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._look_again()

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
