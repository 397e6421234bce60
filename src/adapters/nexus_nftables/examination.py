"""Whether ports can be published, this server's table is whole, and others' lead somewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from nexus_core.domain.finding import Area, Finding, said
from nexus_core.errors import PublishFailed
from nexus_core.ports.examiner import Examiner
from nexus_nftables.host import Loopback, address_of
from nexus_nftables.nft import Nft
from nexus_nftables.publisher import NftablesPublisher
from nexus_nftables.rules import Seen, Table

_AREA: Final = Area("nftables")
_NAME: Final = re.compile(r"nexus_[A-Za-z0-9_]{1,40}")
_REBUILD: Final = "rebuild table"
_OPEN: Final = "open loopback"
Ruleset = Sequence[Mapping[str, Any]]


class NftablesExaminer(Examiner):
    """Looks at nftables and at what stands in it for Nexus; mends the table, loopback, and tables left behind.

    ``server_id`` is None where it is not known: then every table is another server's. ``addresses``
    answers those of every instance there is, or None while that is not known. A table is left behind
    where it is for this very bridge, and all its ports lead to addresses that no instance has. Where
    a server runs (``is_served``) its own table is left to it.
    """

    def __init__(
        self,
        *,
        server_id: str | None,
        bridge: str,
        addresses: Callable[[], Awaitable[frozenset[str] | None]],
        is_served: Callable[[], bool],
        timeout_seconds: float = 10.0,
        nft: str = "nft",
        proc: Path = Path("/proc"),
    ) -> None:
        self._table = None if server_id is None else Table(server_id, bridge)
        self._bridge = bridge
        self._addresses = addresses
        self._is_served = is_served
        self._publisher = partial(NftablesPublisher, bridge=bridge, timeout_seconds=timeout_seconds, nft=nft, proc=proc)
        self._nft = Nft(command=nft, timeout_seconds=timeout_seconds)
        self._loopback = Loopback(bridge, proc)

    async def examine(self) -> Sequence[Finding]:
        try:
            ruleset = await self._nft.ruleset()
        except PublishFailed as error:
            if os.geteuid() != 0 and "No permission" in error.why:
                return [_AREA.warning("nft", "could not be looked at without root", "Run `nexus doctor` as root.")]
            return [_AREA.failure("nft", said(error), error.fix)]
        found = [_AREA.ok("nft", "can be used")]
        if self._table is not None:
            found += self._own(ruleset, self._table)
        return [*found, *await self._others(ruleset)]

    async def mend(self, finding: Finding) -> Finding:
        work = finding.mend or ""
        try:
            ruleset = await self._nft.ruleset()
            if self._table is not None and work in (_REBUILD, _OPEN):
                return await self._mend_own(finding, self._table, ruleset, work)
            if work not in await self._left_behind(ruleset):
                return finding.mended("is gone or leads somewhere by now, and is left alone")
            await self._publisher(server_id=_table_named(work, self._bridge).server_id).remove()
        except PublishFailed as error:
            return finding.not_mended(f"could not be mended: {said(error)}", error.fix)
        return finding.mended("is removed: it led nowhere")

    async def _mend_own(self, finding: Finding, table: Table, ruleset: Ruleset, work: str) -> Finding:
        seen = Seen.read(ruleset, table)
        if work == _OPEN:
            if not seen.intact:
                return finding.not_mended("stays off: the rules that guard the host's loopback are gone by now")
            self._loopback.open()
            return finding.mended(f"is on for {self._bridge}")
        if self._is_served():
            return finding.not_mended("is left to the server, which runs by now")
        await self._publisher(server_id=table.server_id).restore(seen.ports)
        return finding.mended(f"is whole again, with {len(seen.ports)} ports")

    def _own(self, ruleset: Ruleset, table: Table) -> Iterator[Finding]:
        name = f"table {table.name}"
        if table.name not in _tables(ruleset):
            # Whether something is to be published, the records say.
            yield _AREA.ok(name, "is not there: this server publishes nothing")
            return
        seen = Seen.read(ruleset, table)
        if seen.intact and address_of(self._bridge) in (None, seen.source):
            yield _AREA.ok(name, f"is whole, with {len(seen.ports)} ports")
        elif self._is_served():
            yield _AREA.failure(
                name,
                "lacks some of its rules, or they are for an earlier bridge",
                "The server mends it within half a minute.",
            )
        else:
            fix = "`nexus doctor --fix` puts it in place again, and so does the server at its start."
            yield _AREA.failure(name, "lacks some of its rules, or they are for an earlier bridge", fix, mend=_REBUILD)
        if seen.ports and self._loopback.is_shut():
            says = f"is off for {self._bridge}: published ports do not answer on 127.0.0.1"
            fix = f"`sysctl -w net.ipv4.conf.{self._bridge}.route_localnet=1`, or `nexus doctor --fix`."
            # Only behind the guard: without it, workspaces would reach what listens on the host's loopback.
            yield _AREA.failure("route_localnet", says, fix, mend=_OPEN if seen.intact else None)

    async def _others(self, ruleset: Ruleset) -> list[Finding]:
        others = self._others_tables(ruleset)
        behind = await self._left_behind(ruleset)
        fix = "`nexus doctor --fix` removes it; by hand, `nft delete table ip {}`."
        found = [
            _AREA.warning(
                f"table {name}", f"of another server leads {count} ports to no container", fix.format(name), name
            )
            for name, count in behind.items()
        ]
        return [*found, _AREA.ok("other servers", f"{len(others) - len(behind)} tables, left alone")] if others else []

    async def _left_behind(self, ruleset: Ruleset) -> dict[str, int]:
        """How many ports each table has that leads to nothing; the rules are older than the addresses they are held to.

        Whoever publishes a port has made its container before.
        """
        seen = {table.name: Seen.read(ruleset, table) for table in self._others_tables(ruleset)}
        # Intact includes that its guard watches this bridge: of what hangs on others we know nothing.
        suspects = {name: one for name, one in seen.items() if one.intact and one.ports}
        addresses = await self._addresses() if suspects else None
        if addresses is None:
            return {}
        return {
            name: len(one.ports)
            for name, one in suspects.items()
            if not any(target.address in addresses for target in one.ports.values())
        }

    def _others_tables(self, ruleset: Ruleset) -> list[Table]:
        """Every server's but this one's, as if they were for this bridge."""
        own = "" if self._table is None else self._table.name
        names = [name for name in _tables(ruleset) if _NAME.fullmatch(name) and name != own]
        return [_table_named(name, self._bridge) for name in names]


def _tables(ruleset: Ruleset) -> list[str]:
    """The names of all tables of the family that ours are of."""
    return [one["table"]["name"] for one in ruleset if one.get("table", {}).get("family") == "ip"]


def _table_named(name: str, bridge: str) -> Table:
    """The table of that name; whether the server's id has hyphens in their place makes no difference to it."""
    return Table(name.removeprefix("nexus_").replace("_", "-"), bridge)
