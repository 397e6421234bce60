"""Waking those who wait for events, all of them with one look."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from nexus_core.errors import NexusError
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store

_log = logging.getLogger(__name__)

LOOK: Final = 0.05
"""Seconds between two looks: how late an event is told at most."""
_AGAIN: Final = 1.0  # how soon a database that did not answer is asked again
_MOST: Final = 500  # events that are sorted by whom they concern; where there are more, everybody is woken


@dataclass(frozen=True, slots=True)
class Interest:
    """Whose events are waited for; None does not restrict."""

    workspace_id: str | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    interest: Interest
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    """Looks for new events while anybody waits for some; those that another process wrote are found too."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen = 0
        self._waiters: set[_Waiter] = set()
        self._watch: asyncio.Task[None] | None = None

    async def news(self, since: int, interest: Interest) -> None:
        """Return when there may be events of interest with an id above ``since``.

        Returns now and then for nothing, but never leaves anything out. A database that does not answer is waited for.
        """
        if self._watch is None:
            self._seen = since
            self._watch = asyncio.get_running_loop().create_task(self._look_on(), name="feed")
        elif since < self._seen:
            return
        waiter = _Waiter(interest)
        self._waiters.add(waiter)
        try:
            await waiter.woken.wait()
        finally:
            self._waiters.discard(waiter)
            if not self._waiters:
                self._watch.cancel()
                self._watch = None

    async def _look_on(self) -> None:
        pause = LOOK
        while True:
            await self._clock.sleep(pause)
            try:
                self._look()
                pause = LOOK
            except NexusError as error:
                pause = _AGAIN
                _log.warning("cannot look for events: %s", error, extra={"code": error.code})

    def _look(self) -> None:
        with self._store.snapshot() as records:
            newest = records.events.newest_id()
            if newest == self._seen:
                return
            told = records.events.after(self._seen, until=newest, limit=_MOST)
        # Where ids have gone back, another database is in the place of the one there was.
        everybody = newest < self._seen or len(told) == _MOST
        self._seen = newest
        workspaces: set[str | None] = {None, *(one.workspace_id for one in told)}
        owners: set[str | None] = {None, *(one.owner_id for one in told)}
        for waiter in self._waiters:
            concerned = waiter.interest.workspace_id in workspaces and waiter.interest.owner_id in owners
            if everybody or (told and concerned):
                waiter.woken.set()
