"""A host whose ports exist in memory only."""

from __future__ import annotations

from collections.abc import Mapping

from nexus_core.errors import HostPortTaken
from nexus_core.ports.port_publisher import PortPublisher, Target
from nexus_fakes.faults import Faults


class FakeHost:
    """The ports of one host: who listens, and what each server publishes. Share it between publishers."""

    def __init__(self) -> None:
        self.listening: set[int] = set()
        self.published: dict[str, dict[int, Target]] = {}


class FakePublisher(PortPublisher):
    """A `PortPublisher` that remembers what leads where, and leads nowhere.

    What it publishes belongs to the `FakeHost` and so outlives it, as real rules do: give a second
    publisher the same host and server id to play a server that has been restarted.
    """

    def __init__(
        self, *, server_id: str = "server", host: FakeHost | None = None, faults: Faults | None = None
    ) -> None:
        self.host = host or FakeHost()
        self.faults = faults or Faults()
        self._server_id = server_id

    def listen(self, port: int) -> None:
        """Let another program on the host listen on this port."""
        self.host.listening.add(port)

    def stop_listening(self, port: int) -> None:
        """Let that program end."""
        self.host.listening.discard(port)

    def target(self, port: int) -> Target | None:
        """Where this server leads the port at present; asking counts as no call and meets no fault."""
        return self._own.get(port)

    async def publish(self, port: int, target: Target) -> None:
        await self.faults.reached("publish")
        if port in self._occupied():
            raise HostPortTaken(f"Port {port} of the host is taken", why="Another program or another server holds it.")
        self._own[port] = target
        await self.faults.reached("publish", after=True)

    async def withdraw(self, port: int) -> None:
        await self.faults.reached("withdraw")
        self._own.pop(port, None)
        await self.faults.reached("withdraw", after=True)

    async def restore(self, ports: Mapping[int, Target]) -> None:
        await self.faults.reached("restore")
        self.host.published[self._server_id] = dict(ports)
        await self.faults.reached("restore", after=True)

    async def published(self) -> dict[int, Target]:
        await self.faults.reached("published")
        published = dict(self._own)
        await self.faults.reached("published", after=True)
        return published

    async def occupied(self) -> frozenset[int]:
        await self.faults.reached("occupied")
        occupied = self._occupied()
        await self.faults.reached("occupied", after=True)
        return occupied

    @property
    def _own(self) -> dict[int, Target]:
        return self.host.published.setdefault(self._server_id, {})

    def _occupied(self) -> frozenset[int]:
        others = (ports for server, ports in self.host.published.items() if server != self._server_id)
        return frozenset(self.host.listening.union(*others))
