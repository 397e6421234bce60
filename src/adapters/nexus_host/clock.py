"""The host's own time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from nexus_core.ports.clock import Clock


class SystemClock(Clock):
    """A `Clock` that asks the kernel, and sleeps on the running event loop."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
