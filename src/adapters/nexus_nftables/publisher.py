"""The port publisher in the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_core.errors import HostPortTaken, PublishFailed
from nexus_core.ports.port_publisher import PortPublisher, Target
from nexus_nftables.host import Loopback, address_of, listening_ports
from nexus_nftables.nft import Nft
from nexus_nftables.rules import Seen, Table, check_element


class NftablesPublisher(PortPublisher):
    """A `PortPublisher` made of nftables rules: no process of ours stands between the two ends.

    A port is published on every IPv4 address of the host, loopback included, or on the one its target
    names, and not to the workspaces themselves: what arrives from the bridge is left alone. Every method raises
    `PublishFailed` if `nft` is missing, is not permitted to do its work, or does not end in time.

    The bridge may come up later than this object, or again. Two servers that publish one port in
    the same few milliseconds both succeed and the first one's rules win; the host key tells then.
    """

    def __init__(
        self,
        *,
        server_id: str,
        bridge: str = "nexusbr0",
        ports_cache_seconds: float = 3.0,
        timeout_seconds: float = 10.0,
        nft: str = "nft",
        proc: Path = Path("/proc"),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = Table(server_id, bridge)
        self._nft = Nft(command=nft, timeout_seconds=timeout_seconds)
        self._proc = proc
        self._loopback = Loopback(bridge, proc)
        self._changing = asyncio.Lock()  # between looking and changing, nobody else of this server changes
        self._asked: list[_Change] = []
        self._monotonic = monotonic
        self._cache_seconds = ports_cache_seconds
        self._occupied: frozenset[int] = frozenset()
        self._occupied_until = float("-inf")

    async def publish(self, port: int, target: Target) -> None:
        await self._ask(_Change(port, target))

    async def withdraw(self, port: int) -> None:
        """Let no new connection in at ``port``; those that are open go on until either end closes them."""
        await self._ask(_Change(port, None))

    async def restore(self, ports: Mapping[int, Target]) -> None:
        """Publish exactly these, in one step and unchecked for clashes: what was leased is this server's to publish."""
        async with self._changing:
            await self._nft.apply(self._table.building(ports, address_of(self._table.bridge)))
            self._loopback.open()

    async def published(self) -> dict[int, Target]:
        """What the kernel leads where for this server at present.

        Nothing counts as published while some of the rules around the maps are gone, or the bridge
        has come up anew and does not let loopback through: `publish` mends both.
        """
        seen = await self._look()
        return dict(seen.ports) if self._is_whole(seen) and not self._loopback.is_shut() else {}

    async def occupied(self) -> frozenset[int]:
        if self._monotonic() >= self._occupied_until:
            seen = await self._look()
            self._occupied = seen.foreign | listening_ports(self._proc)
            self._occupied_until = self._monotonic() + self._cache_seconds
        return self._occupied

    async def remove(self) -> None:
        """Withdraw everything and leave no trace on the host; for taking Nexus off it. Idempotent."""
        async with self._changing:
            seen = await self._look()
            if not seen.shares_bridge:
                self._loopback.shut()  # before its guard goes
            await self._nft.apply(self._table.removing())

    async def _ask(self, change: _Change) -> None:
        """Have the change carried out, together with all that are asked for while another is under way.

        `nft` takes as long for one change as for a hundred. Whoever gets the turn works for all who
        wait for it; if it is cancelled meanwhile, the next one takes over.
        """
        self._asked.append(change)
        try:
            async with self._changing:
                if not change.settled:
                    await self._carry_out(self._asked)
        finally:
            self._asked = [other for other in self._asked if other is not change and not other.settled]
        if change.error is not None:
            raise change.error

    async def _carry_out(self, changes: Sequence[_Change]) -> None:
        """Look once, weigh each change in the order of asking, and put the outcome in place in one step."""
        changes = tuple(changes)  # more may be asked for meanwhile: they have their own turn
        try:
            seen = await self._look()
            listening = listening_ports(self._proc)
            wanted = dict(seen.ports)
            for change in changes:
                change.weigh(wanted, seen.foreign, listening)
            publishing = any(change.target is not None and change.error is None for change in changes)
            if publishing and not self._is_whole(seen):
                await self._nft.apply(self._table.building(seen.ports, address_of(self._table.bridge)))
            if publishing:
                self._loopback.open()
            if wanted != seen.ports:
                await self._nft.apply(self._table.changing(seen.ports, wanted))
        except Exception as exc:
            for change in changes:
                change.error = change.error or exc
        for change in changes:
            change.settled = True

    def _is_whole(self, seen: Seen) -> bool:
        """Whether all rules are in place, and loopback leaves with the address that the bridge has, if it has one."""
        return seen.intact and address_of(self._table.bridge) in (None, seen.source)

    async def _look(self) -> Seen:
        return Seen.read(await self._nft.ruleset(), self._table)


@dataclass(slots=True, eq=False)
class _Change:
    """One port to be led to a target, or nowhere; and, once settled, why not."""

    port: int
    target: Target | None
    settled: bool = False
    error: Exception | None = None

    def weigh(self, wanted: dict[int, Target], foreign: Container[int], listening: Container[int]) -> None:
        """Enter the change into the ports that are wanted, unless something stands against it."""
        self.error = None
        if self.target is None:
            wanted.pop(self.port, None)
        elif self.port in listening:
            self.error = self._taken("Another program on the host listens on it.")
        elif self.port in foreign:
            self.error = self._taken("Another nftables table leads it elsewhere, perhaps another server's.")
        else:
            try:
                check_element(self.port, self.target)
            except PublishFailed as exc:
                self.error = exc
            else:
                wanted[self.port] = self.target

    def _taken(self, why: str) -> HostPortTaken:
        return HostPortTaken(f"Port {self.port} of the host is taken", why=why)
