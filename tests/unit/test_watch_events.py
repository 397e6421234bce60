"""Following events: nothing left out, nothing twice, nothing of others', whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from nexus_core import Caller
from nexus_core.engine.feed import Feed, Interest
from nexus_core.errors import DatabaseBusy, Forbidden, NexusError, Unauthorized, WorkspaceNotFound
from nexus_core.ports.records import Event, RecordedEvent
from nexus_core.ports.store import Records
from nexus_core.usecases import watch_events
from nexus_core.usecases.watch_events import BEAT, Gap, Happened, Silence, Told
from worlds import ADMIN, World


def welcome() -> None:
    """Whoever asks is admitted."""


@dataclass
class Listener:
    """Takes what is told as it comes."""

    told: list[Told] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def listen(self, telling: AsyncGenerator[Told, None]) -> None:
        async for one in telling:
            self.told.append(one)

    @property
    def events(self) -> list[RecordedEvent]:
        return [event for one in self.told if isinstance(one, Happened) for event in one.events]

    @property
    def ids(self) -> list[int]:
        return [event.id for event in self.events]

    @property
    def words(self) -> list[str]:
        """What happened, in short."""
        return [" ".join(map(str, (one.data.get("step", ""), one.data["status"]))).strip() for one in self.events]

    @property
    def beats(self) -> int:
        return sum(isinstance(one, Silence) for one in self.told)

    @property
    def gaps(self) -> list[Gap]:
        return [one for one in self.told if isinstance(one, Gap)]

    def has_ended(self) -> bool:
        assert self.task is not None
        return self.task.done()


@asynccontextmanager
async def listening(
    world: World,
    caller: Caller,
    workspace_id: str | None = None,
    after: int | None = None,
    admitted: Callable[[], object] = welcome,
) -> AsyncGenerator[Listener]:
    """Somebody who listens, and has heard all there was at first."""
    listener = Listener()
    telling = world.nexus.watch_events(caller, workspace_id, after=after, admitted=admitted)
    listener.task = asyncio.create_task(listener.listen(telling))
    await world.clock.settle()
    yield listener
    if not listener.task.done():
        listener.task.cancel()
    await asyncio.gather(listener.task, return_exceptions=True)
    await telling.aclose()


def written(world: World) -> list[int]:
    """The ids of all events there are."""
    with world.store.snapshot() as records:
        return [one.id for one in records.events.after(0, limit=100_000)]


def happen(world: World, workspace_id: str, times: int = 1) -> None:
    """Let something happen to the workspace."""
    with world.store.transaction() as records:
        for number in range(times):
            records.events.add(Event(workspace_id, "step", world.clock.now(), {"step": "s", "status": str(number)}))


@contextmanager
def broken_database(world: World, monkeypatch: pytest.MonkeyPatch, error: NexusError) -> Generator[None]:
    """A database that cannot be read."""

    def fail() -> NoReturn:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "snapshot", fail)
        yield


async def test_who_creates_and_then_watches_misses_nothing(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    async with listening(world, alice, workspace.id) as listener:
        assert listener.ids == written(world)
        assert listener.words[:4] == ["pending", "creating", "create_instance running", "create_instance done"]
        assert listener.words[-1] == "running"
        first = listener.events[0]
        assert (first.name, first.owner, first.workspace_id) == ("web", "alice", workspace.id)
    assert isinstance(listener.told[0], Silence)


async def test_what_happens_is_told_within_a_twentieth_of_a_second(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    async with listening(world, alice) as listener:
        assert listener.events == []
        happen(world, workspace.id)
        await world.clock.advance(0.05)
        assert len(listener.events) == 1
        stopping = asyncio.create_task(world.nexus.stop_workspace(alice, workspace.id))
        await world.clock.advance(0.1)
        assert (await stopping).status == "stopped"
        assert listener.words[1:] == [
            "stopping",
            "withdraw_ssh running",
            "withdraw_ssh done",
            "stop_instance running",
            "stop_instance done",
            "stopped",
        ]


async def test_a_workspace_is_followed_from_its_last_operation(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    async with listening(world, alice, workspace.id) as listener:
        assert listener.words[0] == "stopping"
        assert listener.words[-1] == "stopped"


async def test_a_workspace_whose_beginning_is_not_kept_is_followed_from_now(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    with world.store.transaction() as records:
        records.events.purge(world.clock.now().replace(year=2999))
    async with listening(world, alice, workspace.id) as listener:
        assert listener.told == [Silence(cursor=newest(world))]
        happen(world, workspace.id)
        await world.clock.advance(0.05)
        assert len(listener.events) == 1


def newest(world: World) -> int:
    with world.store.snapshot() as records:
        return records.events.newest_id()


async def test_going_on_where_one_was(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    every = written(world)
    for after in (0, every[0], every[7], every[-1]):
        for of in (None, workspace.id):
            async with listening(world, alice, of, after) as listener:
                assert listener.ids == [one for one in every if one > after]
                assert listener.gaps == []


async def test_a_user_hears_of_its_own_and_the_administrator_of_all(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    async with (
        listening(world, alice) as of_alice,
        listening(world, bob) as of_bob,
        listening(world, ADMIN) as of_all,
    ):
        await world.running(alice, "hers")
        await world.running(bob, "his")
        await world.clock.advance(0.1)
        assert {one.name for one in of_alice.events} == {"hers"}
        assert {one.name for one in of_bob.events} == {"his"}
        assert of_all.ids == written(world) == sorted(of_alice.ids + of_bob.ids)


@pytest.mark.parametrize("after", [None, 0])
async def test_what_is_not_ones_own_does_not_exist(world: World, after: int | None) -> None:
    workspace = await world.running(world.register("alice"))
    bob = world.register("bob")
    for identifier in (workspace.id, "ws-nothing"):
        with pytest.raises(WorkspaceNotFound):
            world.nexus.watch_events(bob, identifier, after=after, admitted=welcome)


async def test_a_busy_server_is_looked_through_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_events, "_WINDOW", 7)
    monkeypatch.setattr(watch_events, "_PAGE", 3)
    alice, bob = world.register("alice"), world.register("bob")
    hers, his = await world.running(alice), await world.running(bob)
    for number in range(20):
        happen(world, hers.id, number % 5)
        happen(world, his.id, number)
    async with listening(world, alice, after=0) as listener, listening(world, ADMIN, after=0) as of_all:
        for _ in range(10):
            await world.clock.settle()
        assert of_all.ids == written(world)
        assert listener.ids == [one.id for one in of_all.events if one.owner == "alice"]


async def test_a_burst_wakes_everybody(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    hers, his = await world.running(alice), await world.running(bob)
    async with listening(world, alice) as of_alice, listening(world, bob) as of_bob:
        happen(world, hers.id, 600)
        happen(world, his.id, 1)
        await world.clock.advance(0.05)
        await world.clock.settle()
        assert (len(of_alice.ids), len(of_bob.ids)) == (600, 1)


async def test_a_sign_of_life_after_every_quarter_of_a_minute_of_silence(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    hers, his = await world.running(alice), await world.running(bob)
    async with listening(world, alice) as listener:
        await world.clock.advance(BEAT - 1)
        happen(world, his.id)  # is nothing to her
        await world.clock.advance(1)
        assert listener.beats == 2
        await world.clock.advance(BEAT - 1)
        happen(world, hers.id)
        await world.clock.advance(0.05)
        await world.clock.advance(BEAT - 1)
        assert listener.beats == 2
        await world.clock.advance(1)
        assert listener.beats == 3
        assert listener.told[-1] == Silence(newest(world))


async def test_nobody_looks_while_nobody_waits(world: World) -> None:
    alice = world.register()
    sleepers = world.clock.sleepers
    async with listening(world, alice), listening(world, alice):
        assert world.clock.sleepers > sleepers
    assert world.clock.sleepers == sleepers
    async with listening(world, alice) as listener:
        await world.running(alice)
        await world.clock.advance(0.05)
        assert listener.ids == written(world)


@pytest.mark.parametrize("refusal", [Unauthorized("The token is not valid"), Forbidden("This token may not read")])
async def test_who_is_admitted_no_longer_hears_no_more(world: World, refusal: NexusError) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    refused: list[NexusError] = []

    def admitted() -> None:
        for error in refused:
            raise error

    async with listening(world, alice, admitted=admitted) as quiet, listening(world, alice, admitted=admitted) as busy:
        await world.clock.advance(BEAT)
        assert quiet.beats == busy.beats == 2
        refused.append(refusal)
        for _ in range(4):
            await world.clock.advance(BEAT / 5)
            happen(world, workspace.id)
        await world.clock.advance(0.1)
        assert not busy.has_ended()
        await world.clock.advance(BEAT)
        assert busy.has_ended()
        assert quiet.has_ended()
        assert quiet.beats == busy.beats == 2


async def test_while_nobody_can_say_who_is_admitted_it_goes_on(world: World) -> None:
    def admitted() -> NoReturn:
        raise DatabaseBusy("The database is locked")

    async with listening(world, world.register(), admitted=admitted) as listener:
        await world.clock.advance(BEAT)
        assert listener.beats == 2
        assert not listener.has_ended()


async def test_a_database_that_does_not_answer_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    async with listening(world, alice) as listener:
        happen(world, workspace.id)
        with broken_database(world, monkeypatch, DatabaseBusy("The database is locked")):
            await world.clock.advance(40)
            assert not listener.has_ended()
            assert listener.beats == 3
        happen(world, workspace.id)
        await world.clock.advance(1)
        assert len(listener.ids) == 2


async def test_a_workspace_is_followed_to_its_end(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    async with listening(world, alice, workspace.id) as listener, listening(world, alice) as of_all:
        last = listener.ids[-1]
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
        await world.clock.advance(0.1)
        assert listener.words[-1] == "deleted"
        assert listener.has_ended()
        assert not of_all.has_ended()
    async with listening(world, alice, workspace.id, last) as again:
        assert again.ids == [one for one in written(world) if one > last]
        assert again.has_ended()
    for after in (None, again.ids[-1]):
        with pytest.raises(WorkspaceNotFound):
            world.nexus.watch_events(alice, workspace.id, after=after, admitted=welcome)
    with pytest.raises(WorkspaceNotFound):
        world.nexus.watch_events(world.register("bob"), workspace.id, after=last, admitted=welcome)


@pytest.mark.parametrize("of_one", [True, False])
async def test_what_is_not_kept_any_more_leaves_a_gap(world: World, of_one: bool) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    gone = newest(world)
    await world.clock.advance(100)
    happen(world, workspace.id, 3)
    with world.store.transaction() as records:
        records.events.purge(world.clock.now())
    of = workspace.id if of_one else None
    for after in (gone - 1, 0):
        async with listening(world, alice, of, after) as listener:
            assert listener.told[1] == Gap(after, oldest=gone + 1, newest=gone + 3, cursor=gone)
            assert listener.ids == [gone + 1, gone + 2, gone + 3]
            assert len(listener.told) == 3
    async with listening(world, alice, of, gone) as listener:
        assert listener.gaps == []
        assert len(listener.ids) == 3


async def test_an_id_that_was_never_given_out_is_of_another_database(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    last = newest(world)
    async with listening(world, alice, after=last + 1) as listener:
        assert listener.told == [Silence(last + 1), Gap(last + 1, oldest=1, newest=last, cursor=last)]
        happen(world, workspace.id)
        await world.clock.advance(0.05)
        assert listener.ids == [last + 1]
    # Of a workspace its present state is told at once.
    async with listening(world, alice, workspace.id, after=2**63 - 1) as listener:
        assert listener.gaps == [Gap(2**63 - 1, oldest=1, newest=last + 1, cursor=0)]
        assert listener.ids == written(world)


async def test_ids_that_go_back_while_one_waits_leave_a_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    async with listening(world, alice) as listener:
        last = newest(world)
        with world.store.transaction() as records:
            put_back(records, last - 4)
        await world.clock.advance(0.05)
        assert listener.gaps == [Gap(last, oldest=1, newest=last - 4, cursor=last - 4)]
        happen(world, workspace.id)
        await world.clock.advance(0.05)
        assert listener.ids == [last - 3]


def put_back(records: Records, newest: int) -> None:
    """Forget the later events and that they ever were, as another database in the place of this one would."""
    connection: Any = records.events._connection  # type: ignore[attr-defined]  # the store's own
    connection.execute("DELETE FROM events WHERE id > ?", (newest,))
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (newest,))


async def test_many_who_come_and_go_hear_everything_once(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    begun = newest(world)
    heard: list[list[int]] = [[] for _ in range(5)]

    async def come_and_go(ids: list[int]) -> None:
        for pieces in itertools.cycle((1, 4, 2)):
            after = ids[-1] if ids else begun
            telling = world.nexus.watch_events(alice, workspace.id, after=after, admitted=welcome)
            for _ in range(pieces):
                one = await anext(telling)
                ids += [event.id for event in one.events] if isinstance(one, Happened) else []
            await telling.aclose()

    tasks = [asyncio.create_task(come_and_go(ids)) for ids in heard]
    for number in range(60):
        happen(world, workspace.id, number % 4)
        await world.clock.advance(0.02)
    await world.clock.advance(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    everything = [one for one in written(world) if one > begun]
    assert heard == [everything] * 5


async def test_who_has_read_less_than_was_looked_at_is_not_left_waiting(world: World) -> None:
    workspace = await world.running(world.register())
    feed, nothing_new = Feed(store=world.store, clock=world.clock), newest(world)
    others = asyncio.create_task(feed.news(nothing_new, Interest(workspace_id="ws-another")))
    happen(world, workspace.id)
    await world.clock.advance(0.05)
    await feed.news(nothing_new, Interest(workspace_id=workspace.id))
    assert not others.done()
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
