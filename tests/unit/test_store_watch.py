"""The watch of the store: what it finds is logged once, and nothing ends it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from nexus_core.engine.store_watch import StoreWatch
from nexus_core.errors import StoreFailed
from nexus_fakes import FakeClock
from nexus_sqlite import SqliteStore
from worlds import World


class Examined:
    """A store's `verify` that finds what the test wants, and counts."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Exception | None = None
        self.looks = 0
        self.go_on = threading.Event()
        self.go_on.set()
        monkeypatch.setattr(store, "verify", self)

    def __call__(self) -> None:
        self.looks += 1
        self.go_on.wait(30)
        if self.fault is not None:
            raise self.fault


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds: a thread has ended, or begun."""
    while not holds():  # noqa: ASYNC110  # the thread is real, and the clock is not
        await asyncio.sleep(0)


@pytest.fixture
def store() -> SqliteStore:
    return SqliteStore.in_memory()


@pytest.fixture
def examined(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> Examined:
    return Examined(store, monkeypatch)


async def test_damage_is_logged_when_it_comes_and_when_it_goes(
    store: SqliteStore, examined: Examined, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    watch = StoreWatch(store=store, clock=FakeClock())
    for fault in (None, StoreFailed("It is damaged"), StoreFailed("It is damaged"), None, None):
        examined.fault = fault
        await watch.look()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the database is not well",
        "the database is well again",
    ]


async def test_a_fault_of_the_looking_ends_nothing(
    store: SqliteStore, examined: Examined, caplog: pytest.LogCaptureFixture
) -> None:
    examined.fault = RuntimeError("no")
    await StoreWatch(store=store, clock=FakeClock()).look()
    assert [record.getMessage() for record in caplog.records] == ["the watch of the database met a fault"]


async def test_it_looks_again_and_again(store: SqliteStore, examined: Examined) -> None:
    clock = FakeClock()
    watching = asyncio.ensure_future(StoreWatch(store=store, clock=clock).run())
    await clock.advance(1.5)
    assert examined.looks == 0
    for expected, seconds in ((1, 0.5), (2, 2), (3, 2)):
        await clock.advance(seconds)
        await until(lambda: clock.sleepers > 0)
        assert examined.looks == expected
    watching.cancel()
    await asyncio.wait({watching})


async def test_a_look_that_takes_long_is_rare(store: SqliteStore, examined: Examined) -> None:
    clock = FakeClock()
    examined.go_on.clear()
    watching = asyncio.ensure_future(StoreWatch(store=store, clock=clock).run())
    await clock.advance(2)
    await clock.advance(0.25)  # that long it takes
    examined.go_on.set()
    await until(lambda: clock.sleepers > 0)
    await clock.advance(24.5)
    assert examined.looks == 1
    await clock.advance(0.5)
    await until(lambda: examined.looks > 1)
    assert examined.looks == 2
    watching.cancel()
    await asyncio.wait({watching})


async def test_a_look_under_way_is_let_end(store: SqliteStore, examined: Examined) -> None:
    examined.go_on.clear()
    looking = asyncio.ensure_future(StoreWatch(store=store, clock=FakeClock()).look())
    await until(lambda: examined.looks > 0)
    looking.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not looking.done()
    examined.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_a_server_watches_while_it_is_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(world.store, SqliteStore)
    examined = Examined(world.store, monkeypatch)
    await world.clock.advance(2)
    await until(lambda: examined.looks > 0)
    assert examined.looks == 1
