"""What every `Clock` promises, by ports/clock.py.

A test module of an adapter derives from `ClockContract` and gives it a fixture ``stage``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from nexus_core.ports.clock import Clock

MOMENT = 0.005  # seconds: as short as a real clock can tell from nothing


@dataclass(frozen=True)
class ClockStage:
    """A clock, and a way to let its time pass."""

    clock: Clock
    let_pass: Callable[[float], Awaitable[None]]


class ClockContract:
    """Derive from it and provide ``stage``."""

    def test_the_time_of_day_is_aware_and_in_utc(self, stage: ClockStage) -> None:
        assert stage.clock.now().utcoffset() == timedelta(0)

    async def test_both_readings_go_on(self, stage: ClockStage) -> None:
        now, monotonic = stage.clock.now(), stage.clock.monotonic()

        await stage.let_pass(MOMENT)

        assert stage.clock.now() > now
        assert stage.clock.monotonic() >= monotonic + MOMENT

    async def test_sleep_lasts_as_long_as_asked(self, stage: ClockStage) -> None:
        began = stage.clock.monotonic()

        async with asyncio.TaskGroup() as tasks:
            sleeping = tasks.create_task(stage.clock.sleep(MOMENT))
            await asyncio.sleep(0)
            assert not sleeping.done()
            await stage.let_pass(2 * MOMENT)

        assert stage.clock.monotonic() >= began + MOMENT

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_a_sleep_of_nothing_returns(self, stage: ClockStage, seconds: float) -> None:
        await stage.clock.sleep(seconds)

    async def test_a_cancelled_sleep_ends_at_once(self, stage: ClockStage) -> None:
        sleeping = asyncio.create_task(stage.clock.sleep(3600))
        await asyncio.sleep(0)

        sleeping.cancel()

        with pytest.raises(asyncio.CancelledError):
            await sleeping
