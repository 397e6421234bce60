"""The host's own clock and random source keep the promises of their ports."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from contracts.clock_contract import ClockContract, ClockStage
from contracts.ids_contract import IdsContract
from nexus_core.ports.ids import Ids
from nexus_host import RandomIds, SystemClock


class TestSystemClock(ClockContract):
    """The one clock whose tests let real time pass: some milliseconds of it."""

    @pytest.fixture
    def stage(self) -> ClockStage:
        return ClockStage(SystemClock(), asyncio.sleep)

    def test_it_tells_the_time_of_day(self) -> None:
        assert abs(SystemClock().now() - datetime.now(UTC)) < timedelta(minutes=1)


class TestRandomIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Ids:
        return RandomIds()

    def test_two_sources_differ(self) -> None:
        assert RandomIds().new("ws") != RandomIds().new("ws")
        assert RandomIds().secret() != RandomIds().secret()
