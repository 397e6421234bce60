"""One HTTP request and its answer.

The standard library's client: importing a larger one takes longer than `nexus ls` does. Proxies
are not used and redirects not followed, so that a token goes where it was meant to and nowhere else.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nexus_cli.errors import ServerUnreachable, WrongUsage

API = "/api/v1"


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

    ``path`` begins after ``/api/v1``; ``timeout`` is how long the server may be silent. Raises
    `ServerUnreachable` where no connection could be made, and `ConnectionLost` where it broke.
    """
    connection = _connect(server, connect_timeout)
    payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
    sent = {"Accept": "application/json", "User-Agent": "nexus-cli", "Connection": "close", **headers}
    if payload is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.sock.settimeout(timeout)
        connection.request(method, f"{server.prefix}{API}{path}", body=payload, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
    except (OSError, http.client.HTTPException) as exc:
        raise ConnectionLost(str(exc) or type(exc).__name__) from exc
    finally:
        connection.close()


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
