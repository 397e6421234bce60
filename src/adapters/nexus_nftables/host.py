"""What the host says: who listens, which address the bridge has, and whether loopback may leave by it."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from nexus_nftables.errors import loopback_refused

_LISTENING = "0A"
_SIOCGIFADDR = 0x8915


def listening_ports(proc: Path) -> frozenset[int]:
    """The TCP ports that programs on the host listen on, on whatever address."""
    return frozenset(port for name in ("tcp", "tcp6") for port in _listening(proc / "net" / name))


def _listening(table: Path) -> Iterator[int]:
    try:
        with table.open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                _, local, _, state, *_ = line.split(maxsplit=4)
                if state != _LISTENING:
                    # The kernel lists listeners first: of the connections, maybe thousands, one line is read.
                    return
                yield int(local.rpartition(":")[2], 16)
    except FileNotFoundError:
        return  # a host without IPv6 has no tcp6


def address_of(interface: str) -> str | None:
    """The interface's first IPv4 address; None while it has none or is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            told = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError:
            return None
    return socket.inet_ntoa(told[20:24])


class Loopback:
    """The kernel's setting that lets packets from 127.0.0.0/8 out to one bridge, for as long as that bridge lives."""

    def __init__(self, bridge: str, proc: Path) -> None:
        self._bridge = bridge
        self._setting = proc / "sys/net/ipv4/conf" / bridge / "route_localnet"

    def is_shut(self) -> bool:
        """Whether the bridge is there and the setting off."""
        try:
            return self._setting.read_text(encoding="ascii").strip() == "0"
        except FileNotFoundError:
            return False

    def open(self) -> None:
        """Switch it on if the bridge is there; without a bridge there is nothing to lead to, and nothing is done.

        Only to be called while the guard is in place. Raises `PublishFailed`.
        """
        if self.is_shut():
            self._set("1")

    def shut(self) -> None:
        """Switch it off again; raises `PublishFailed`."""
        self._set("0")

    def _set(self, value: str) -> None:
        try:
            self._setting.write_text(value, encoding="ascii")
        except FileNotFoundError:
            return  # the bridge has gone this very moment, or was never there
        except OSError as exc:
            raise loopback_refused(self._bridge, exc) from exc
