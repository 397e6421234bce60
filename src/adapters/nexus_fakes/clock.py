"""Time that stands still until it is pushed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

from nexus_core.ports.clock import Clock

_SETTLING_ROUNDS = 50
"""Turns of the event loop given to whoever was woken: far more than a chain of awaits takes."""


class FakeClock(Clock):
    """A `Clock` whose time passes only in `advance`.

    Starts at 2026-01-17 10:30 UTC. Whoever sleeps is woken when the time has been pushed past its
    moment, the earliest first, and each moment's sleepers run until they wait for something again
    before the next moment comes: a loop that sleeps ten seconds runs six times in a minute.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 17, 10, 30, tzinfo=UTC)) -> None:
        self._start = start
        # Whole nanoseconds: ten pushes of 0.1 s come out as one of 1 s.
        self._elapsed = 0
        self._jumped = timedelta()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(microseconds=self._elapsed // 1000) + self._jumped

    def monotonic(self) -> float:
        # Does not begin at 0: code that takes zero for "never" would pass by chance.
        return 1000.0 + self._elapsed / 1e9

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + round(seconds * 1e9), next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many calls of `sleep` are waiting at this moment."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let this much time pass: wakes every sleeper whose moment comes, in order of time."""
        until = self._elapsed + round(seconds * 1e9)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            moment = self._sleepers[0][0]
            self._elapsed = max(self._elapsed, moment)
            while self._sleepers and self._sleepers[0][0] <= moment:
                woken = heapq.heappop(self._sleepers)[2]
                if not woken.done():  # a cancelled sleeper is done already
                    woken.set_result(None)
            await self.settle()
        self._elapsed = until
        await self.settle()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back for a negative number; sleepers do not notice."""
        self._jumped += timedelta(seconds=seconds)

    async def settle(self) -> None:
        """Let every task run on until it waits for something; no time passes."""
        for _ in range(_SETTLING_ROUNDS):
            await asyncio.sleep(0)
