"""SSH handshakes that come out as the test decides."""

from __future__ import annotations

from nexus_core.domain.user import PublicKey
from nexus_core.errors import HostKeyMismatch, SshNotReady
from nexus_core.ports.ssh_probe import SshProbe
from nexus_fakes.faults import Faults
from nexus_fakes.publisher import FakePublisher


class FakeProbe(SshProbe):
    """An `SshProbe` that finds every published port ready, with the very key that is expected.

    `prove` lets a port answer with a key of its own instead, `refuse` lets it answer nothing.
    """

    def __init__(self, publisher: FakePublisher, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self._publisher = publisher
        self._proved: dict[int, PublicKey] = {}
        self._refusing: set[int] = set()

    def prove(self, port: int, key: PublicKey) -> None:
        """Let the server behind this port prove to hold this key, whatever is expected."""
        self._refusing.discard(port)
        self._proved[port] = key

    def refuse(self, port: int) -> None:
        """Let nothing answer behind this port, published or not."""
        self._refusing.add(port)

    def relent(self, port: int) -> None:
        """Undo `prove` and `refuse`."""
        self._refusing.discard(port)
        self._proved.pop(port, None)

    async def handshake(self, port: int, expected: PublicKey) -> None:
        await self.faults.reached("handshake")
        if port in self._refusing or self._publisher.target(port) is None:
            raise SshNotReady(f"Nothing answers on port {port} of the host")
        if self._proved.get(port, expected) != expected:
            raise HostKeyMismatch(f"Port {port} of the host is answered with another host key")
        await self.faults.reached("handshake", after=True)
