"""Following what happens to workspaces, without a gap."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.user import Caller
from nexus_core.engine.deadline import within
from nexus_core.engine.feed import Feed, Interest
from nexus_core.errors import Forbidden, NexusError, Unauthorized
from nexus_core.ports.clock import Clock
from nexus_core.ports.records import RecordedEvent
from nexus_core.ports.store import Records, Store
from nexus_core.usecases.sight import visible_workspace

BEAT: Final = 15.0
"""Seconds of silence after which a sign of life is given."""
_PAGE: Final = 100  # events that one slow listener keeps in memory at most
_WINDOW: Final = 2000  # ids looked through at once for one owner's events: a few milliseconds
_AGAIN: Final = 1.0  # how soon a database that did not answer is asked again
_BEGINNINGS: Final = frozenset({Status.PENDING, Status.STARTING, Status.STOPPING, Status.DELETING})


@dataclass(frozen=True, slots=True)
class Happened:
    """Events in order. Who knows these goes on after ``cursor``."""

    events: Sequence[RecordedEvent]
    cursor: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Events may be missing here: those after ``asked`` are not all kept, or it was given out by another database.

    What is kept has the ids from ``oldest`` to ``newest``; telling goes on after ``cursor``.
    """

    asked: int
    oldest: int
    newest: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing happened, but the telling goes on."""

    cursor: int


Told = Happened | Gap | Silence


@dataclass(frozen=True, slots=True)
class _Reading:
    gap: Gap | None
    page: Happened
    is_all: bool


class WatchEvents:
    """Tells events as they are written down: each once, in order, for as long as it is listened to.

    Reads from the store what comes next when it is asked for it, so that a slow listener costs no memory
    and loses nothing.
    """

    def __init__(self, *, store: Store, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        workspace_id: str | None = None,
        *,
        after: int | None = None,
        admitted: Callable[[], object],
    ) -> AsyncGenerator[Told, None]:
        """What happens from here on: to one workspace, to all of the user's, or to every one for the administrator.

        Begins with `Silence`, which comes again after every 15 seconds without anything else. Goes on after
        the event ``after``; without it, begins now, or for one workspace with the event that began its present
        or last operation. Ends after the workspace is deleted, and when ``admitted``, which is called at least
        every 15 seconds, raises `Unauthorized` or `Forbidden`. A database that does not answer is waited for.

        Raises `WorkspaceNotFound`, at once; not for a deleted workspace of which something is still to be told.
        """
        interest = Interest(owner_id=None if caller.user is None else caller.user.id)
        with self._store.snapshot() as records:
            if workspace_id is not None:
                if after is None or not self._has_more(records, caller, workspace_id, after):
                    visible_workspace(records, caller, workspace_id)
                interest = Interest(workspace_id=workspace_id)
            cursor = _beginning(records, interest) if after is None else after
        return self._told(interest, cursor, admitted)

    @staticmethod
    def _has_more(records: Records, caller: Caller, workspace_id: str, after: int) -> bool:
        workspace = records.workspaces.get(workspace_id)
        may_see = workspace is not None and caller.may_see(workspace.owner_id)
        return may_see and bool(records.events.after(after, workspace_id=workspace_id, limit=1))

    async def _told(
        self, interest: Interest, cursor: int, admitted: Callable[[], object]
    ) -> AsyncGenerator[Told, None]:
        yield Silence(cursor)
        last = asked = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            is_silent = now - last >= BEAT
            if is_silent or now - asked >= BEAT:
                if not _may_go_on(admitted):
                    return
                asked = now
            if is_silent:
                yield Silence(cursor)
                last = self._clock.monotonic()
            try:
                reading = self._read(interest, cursor)
            except NexusError:  # every request meets it too, and the log has it
                await self._clock.sleep(_AGAIN)
                continue
            if reading.gap is not None:
                yield reading.gap
                last = self._clock.monotonic()
            cursor = reading.page.cursor
            if reading.page.events:
                yield reading.page
                last = self._clock.monotonic()
                if interest.workspace_id is not None and any(map(_is_deletion, reading.page.events)):
                    return
            await self._news(reading, interest, last)

    async def _news(self, reading: _Reading, interest: Interest, last: float) -> None:
        """Wait until there may be more to tell, or nothing was told for too long."""
        if not reading.is_all:
            await self._clock.sleep(0)  # others have their turn in between
            return
        try:
            left = BEAT - (self._clock.monotonic() - last)
            await within(self._clock, left, self._feed.news(reading.page.cursor, interest))
        except TimeoutError:
            pass

    def _read(self, interest: Interest, cursor: int) -> _Reading:
        """What is to be told next."""
        gap: Gap | None = None
        with self._store.snapshot() as records:
            newest = records.events.newest_id()
            oldest = records.events.oldest_id() or newest + 1
            if cursor > newest:
                gap = Gap(cursor, oldest, newest, _beginning(records, interest))
            elif cursor < oldest - 1:
                gap = Gap(cursor, oldest, newest, oldest - 1)
            start = cursor if gap is None else gap.cursor
            until = newest if interest.owner_id is None else min(newest, start + _WINDOW)
            events = records.events.after(
                start, until=until, workspace_id=interest.workspace_id, owner_id=interest.owner_id, limit=_PAGE
            )
        reached = events[-1].id if len(events) == _PAGE else until
        return _Reading(gap, Happened(events, reached), reached == newest)


def _beginning(records: Records, interest: Interest) -> int:
    """After which event telling begins where nobody says: that before the last operation's first, else the newest."""
    if interest.workspace_id is not None:
        first = records.events.latest_status(interest.workspace_id, _BEGINNINGS)
        if first is not None:
            return first - 1
    return records.events.newest_id()


def _may_go_on(admitted: Callable[[], object]) -> bool:
    try:
        admitted()
    except (Unauthorized, Forbidden):
        return False
    except NexusError:
        return True  # it cannot be known for now
    return True


def _is_deletion(one: RecordedEvent) -> bool:
    return one.kind == "status" and one.data["status"] == Status.DELETED
