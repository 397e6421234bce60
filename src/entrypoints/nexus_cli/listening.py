"""The server's socket, taken before anything costly is opened."""

from __future__ import annotations

import errno
import os
import socket
from typing import ClassVar

from nexus_core.errors import Conflict, Invalid

_BACKLOG = 2048
_FIRST_HANDED_OVER = 3


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

    One that was handed over, by systemd or by the server that ran before, is taken instead. It
    listens at once, so that a second server cannot take the address too, and so that early clients
    wait instead of being refused. Raises `AddressInUse` or `AddressUnusable`.
    """
    handed_over = _handed_over()
    if handed_over is not None:
        return handed_over
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


def hand_over(sock: socket.socket) -> None:
    """Leave the socket to the program that takes this process's place next, where `listen` finds it."""
    os.dup2(sock.fileno(), _FIRST_HANDED_OVER)
    os.set_inheritable(_FIRST_HANDED_OVER, True)  # dup2 leaves it as it is where the two are one
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}


def _handed_over() -> socket.socket | None:
    """The socket that whoever started this process listens on already, as sd_listen_fds(3) has it."""
    number, process = os.environ.pop("LISTEN_FDS", "0"), os.environ.pop("LISTEN_PID", "")
    if number == "0" or process != str(os.getpid()):
        return None
    if number != "1":
        raise AddressUnusable(f"{number} sockets were handed over, and one is served", fix="Hand over one.")
    sock = socket.socket(fileno=_FIRST_HANDED_OVER)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """The address of a listening socket as people and clients write it."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
