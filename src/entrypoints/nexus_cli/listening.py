"""The server's socket, taken before anything costly is opened."""

from __future__ import annotations

import errno
import socket
from typing import ClassVar

from nexus_core.errors import Conflict, Invalid

_BACKLOG = 2048


class AddressInUse(Conflict):
    """Another program listens on the address of the HTTP API."""

    code: ClassVar[str] = "address_in_use"
    remedy: ClassVar[str] = "Stop that program (`ss -ltnp` shows it), or choose another address with --listen."


class AddressUnusable(Invalid):
    """The address of the HTTP API is not this machine's, not allowed, or no address at all."""

    code: ClassVar[str] = "address_unusable"
    remedy: ClassVar[str] = "Choose another address with --listen, such as 127.0.0.1:3001."


def listen(address: tuple[str, int]) -> socket.socket:
    """A socket that listens on host and port; port 0 takes a free one.

    It listens at once, so that a second server cannot take the address too, and so that early
    clients wait instead of being refused. Raises `AddressInUse` or `AddressUnusable`.
    """
    host, port = address
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as exc:
        raise AddressUnusable(f"The host {host!r} cannot be resolved", why=f"{exc}.") from exc
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"Nexus cannot listen on {host}:{port}", why="Another program does already.") from exc
        raise AddressUnusable(f"Nexus cannot listen on {host}:{port}", why=f"{exc.strerror}.") from exc
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """The address of a listening socket as people and clients write it."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
