"""Who may do what at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# A cancelled method answers within ten seconds, whether its work has ended by then or not.
PATIENCE = 8.0


@dataclass(slots=True)
class _Lane:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Lanes:
    """One lane to each instance: work on it runs one after another, also after a cancellation.

    The caller that is cancelled gets away after `PATIENCE` seconds at the latest; its work, told to
    end, keeps the lane until it really has, and only then does the next one begin.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work when it is its turn on this lane."""
        task = asyncio.create_task(self._in_turn(name, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await _ended_with_caller(task)

    async def close(self) -> None:
        """Tell all work to end, and wait for it a little."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=PATIENCE)

    async def _in_turn(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        lane = self._lanes.setdefault(name, _Lane())
        lane.users += 1
        try:
            async with lane.lock:
                return await work()
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[name]


@dataclass(slots=True, eq=False)
class _Shared(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Once(Generic[T]):
    """Work that many may ask for at once and that is done once for all of them.

    It is cancelled when nobody waits for it any more, which nobody then waits for either, and begun
    anew (after its end) when it is asked for again.
    """

    def __init__(self) -> None:
        self._shared: dict[str, _Shared[T]] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work under way for this key, or of this work."""
        while (shared := self._shared.get(key)) is not None and shared.task.cancelling():
            await asyncio.wait({shared.task})
        if shared is None:
            shared = self._shared[key] = _Shared(asyncio.create_task(_awaited(work)))
            shared.task.add_done_callback(lambda _: self._shared.pop(key))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        except asyncio.CancelledError:
            if shared.waiting == 1:
                shared.task.cancel()
            raise
        finally:
            shared.waiting -= 1


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _ended_with_caller(task: asyncio.Task[T]) -> T:
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
        raise
