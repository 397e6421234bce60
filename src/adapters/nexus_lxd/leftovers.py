"""What was being made in LXD when whoever made it died: builders of images, and half-made stencils."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from nexus_core.domain.finding import Area, Finding
from nexus_core.ports.clock import Clock
from nexus_lxd.connection import Connection, JsonObject
from nexus_lxd.errors import Refusal
from nexus_lxd.instances import BUILDER, FINISHED, STENCIL, find
from nexus_lxd.removal import remove

_BUILDING: Final = timedelta(hours=2)  # longer than the preparation of an image may take
_STENCILLING: Final = timedelta(minutes=10)  # a server gives one up after a minute


class Leftovers:
    """Finds them by their marks and their age, and removes them; other people's instances are never touched."""

    def __init__(self, connection: Connection, server_id: str | None, clock: Clock, area: Area) -> None:
        self._connections = {"builder": connection, "stencil": connection.in_project(f"{connection.project}-stencils")}
        self._server_id = server_id
        self._clock = clock
        self._area = area

    async def found(self) -> list[Finding]:
        """A finding for each; raises `Refusal` and `ProviderUnavailable`."""
        found = [finding for kind in self._connections for finding in self._stale(kind, await self._listed(kind))]
        return found or [self._area.ok("leftovers", "none")]

    async def remove(self, finding: Finding) -> Finding:
        """Remove the one that was found, if it still is what it was; raises `Refusal` and `ProviderUnavailable`."""
        kind, _, name = (finding.mend or "").partition(" ")
        connection = self._connections[kind]
        record = await find(connection, name)
        if record is not None and list(self._stale(kind, [record])):
            await remove(connection, name, record)
            return finding.mended("is removed")
        return finding.mended("is gone, or in use by now")

    async def _listed(self, kind: str) -> list[JsonObject]:
        try:
            records: list[JsonObject] = await self._connections[kind].get("instances", params={"recursion": "1"})
        except Refusal as refusal:
            if not refusal.missing:
                raise
            return []  # the project of the stencils is made when the first is needed
        return records

    def _stale(self, kind: str, records: list[JsonObject]) -> Iterator[Finding]:
        for record in records:
            config: dict[str, str] = record["config"]
            is_builder = kind == "builder" and self._server_id is not None and config.get(BUILDER) == self._server_id
            is_half_made = kind == "stencil" and STENCIL in config and FINISHED not in config
            age = self._clock.now() - datetime.fromisoformat(f"{record['created_at'][:19]}+00:00")
            if (is_builder and age > _BUILDING) or (is_half_made and age > _STENCILLING):
                name: str = record["name"]
                says = f"is left of the making of {'an image' if is_builder else 'a stencil'}"
                by_hand = f"`lxc delete --force --project {record['project']} {name}`"
                fix = f"`nexus doctor --fix` removes it; by hand, {by_hand}."
                yield self._area.warning(name, says, fix, mend=f"{kind} {name}")
