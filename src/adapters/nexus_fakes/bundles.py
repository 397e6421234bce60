"""Uploaded repositories that exist in memory only."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nexus_core.ports.bundles import Bundles
from nexus_fakes.faults import Faults


class FakeBundles(Bundles):
    """A `Bundles` that keeps what comes in a dictionary; its paths lead nowhere."""

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.kept: dict[str, bytes] = {}

    async def receive(self, workspace_id: str, chunks: AsyncIterator[bytes]) -> int:
        await self.faults.reached("receive")
        content = b"".join([chunk async for chunk in chunks])
        self.kept[workspace_id] = content
        await self.faults.reached("receive", after=True)
        return len(content)

    def path_of(self, workspace_id: str) -> str | None:
        return f"/fake/{workspace_id}.bundle" if workspace_id in self.kept else None

    def remove(self, workspace_id: str) -> None:
        self.kept.pop(workspace_id, None)
