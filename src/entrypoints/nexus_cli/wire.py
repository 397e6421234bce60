"""One HTTP request and its answer.

The standard library's client: importing a larger one takes longer than `nexus ls` does. Proxies
are not used and redirects not followed, so that a token goes where it was meant to and nowhere else.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nexus_cli.errors import ServerUnreachable, WrongUsage

API = "/api/v1"
_PIECE = 65_536


class ConnectionLost(Exception):
    """The connection broke after it was made: whether the request took effect is not known."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is; ``prefix`` is the path that a reverse proxy puts before the API."""

    url: str
    secure: bool
    host: str
    port: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body; ``headers`` are by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as the body of a request, sent as it is read; ``sent`` is told how many bytes went out so far."""

    path: Path
    size: int
    sent: Callable[[int], None]

    def pieces(self) -> Iterator[bytes]:
        """The file from its beginning, as long as it was when it was measured."""
        gone = 0
        with self.path.open("rb") as file:
            while gone < self.size and (piece := file.read(min(_PIECE, self.size - gone))):
                yield piece
                gone += len(piece)
                self.sent(gone)


def parse_url(url: str) -> Server:
    """The server behind an http(s) URL; raises `WrongUsage`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise WrongUsage(f"{url!r} is no URL", why=f"{exc}.", fix="Write it like http://127.0.0.1:3001.") from exc
    plain = parts.scheme in ("http", "https") and parts.hostname and url.isascii() and url.isprintable()
    if not plain or " " in url or parts.query or parts.fragment or parts.username is not None:
        raise WrongUsage(f"{url!r} is no address of a server", fix="Write it like http://127.0.0.1:3001.")
    secure = parts.scheme == "https"
    prefix = parts.path.rstrip("/").removesuffix(API)
    return Server(url, secure, parts.hostname or "", port or (443 if secure else 80), prefix)


def send(
    server: Server,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: Any = None,
    timeout: float = 30.0,
    connect_timeout: float = 10.0,
) -> Answer:
    """Send one request to the API and read the answer whole.

    ``path`` begins after ``/api/v1``; ``body`` is JSON, or an `Upload`; ``timeout`` is how long the server may be
    silent. Raises `ServerUnreachable` where no connection could be made, and `ConnectionLost` where it broke.
    """
    connection = _connect(server, connect_timeout)
    try:
        with _losses():
            connection.sock.settimeout(timeout)
            try:
                _ask(connection, server, method, path, headers=headers, body=body)
            except (BrokenPipeError, ConnectionResetError):
                # A server that does not want the file says so before it has all of it, and closes.
                if not isinstance(body, Upload):
                    raise
            response = connection.getresponse()
            return Answer(response.status, _received(response), response.read())
    finally:
        connection.close()


@contextmanager
def streamed(
    server: Server,
    path: str,
    *,
    headers: Mapping[str, str],
    timeout: float,
    accept: str = "text/plain",
    silence: float | None = None,
) -> Generator[tuple[Answer, Iterator[bytes]]]:
    """Ask for text, to be read as it comes for as long as the server has some.

    An answer of 300 and above is read whole and has no pieces. ``timeout`` is for the beginning of the answer;
    after that the server may be silent for ``silence`` seconds, or as long as it likes. Raises what `send`
    raises, also while the pieces are read.
    """
    connection = _connect(server, timeout)
    sock = connection.sock  # the connection itself lets go of it once the answer has begun
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with closing(connection), ExitStack() as stack:
        with _losses():
            _ask(connection, server, "GET", path, headers={**headers, "Accept": f"{accept}, application/json"})
            response = stack.enter_context(closing(connection.getresponse()))
            refused = response.status >= 300
            answer = Answer(response.status, _received(response), response.read() if refused else b"")
            if not response.isclosed():
                sock.settimeout(silence)
        yield answer, iter(()) if refused else _pieces(response)


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with _losses():
        while piece := response.read1(_PIECE):
            yield piece


def _ask(
    connection: http.client.HTTPConnection,
    server: Server,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: Any = None,
) -> None:
    sent = {"Accept": "application/json", "User-Agent": "nexus-cli", "Connection": "close", **headers}
    payload: bytes | Iterator[bytes] | None = None
    if isinstance(body, Upload):
        payload = body.pieces()
        sent |= {"Content-Type": "application/octet-stream", "Content-Length": str(body.size)}
    elif body is not None:
        payload = json.dumps(body, ensure_ascii=False).encode()
        sent["Content-Type"] = "application/json"
    connection.request(method, f"{server.prefix}{API}{path}", body=payload, headers=sent)


def _received(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


@contextmanager
def _losses() -> Generator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as exc:
        raise ConnectionLost(str(exc) or type(exc).__name__) from exc


def _connect(server: Server, timeout: float) -> http.client.HTTPConnection:
    connection: http.client.HTTPConnection
    try:
        if server.secure:
            import ssl

            connection = http.client.HTTPSConnection(
                server.host, server.port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout)
        connection.connect()
    except (OSError, UnicodeError) as exc:
        raise ServerUnreachable(f"No server answers at {server.url}", why=_reason(exc)) from exc
    return connection


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "It did not answer in time."
    if isinstance(exc, socket.gaierror):
        return "The host name cannot be resolved."
    said = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return f"{said}."
