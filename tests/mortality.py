"""A server that can be killed at any moment of its work, as by ``kill -9``: nothing it would do afterwards happens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from nexus_core import Policy
from nexus_core.ports.store import Records, Store, StoreStatus
from nexus_fakes import Faults
from nexus_sqlite.store import SqliteStore
from worlds import World


class Killed(BaseException):
    """The process is gone; no error of the program, so that nothing in it catches this."""


@dataclass
class Death:
    """Counts the moments of a server's work, and kills it at one of them.

    A moment is a fault point of the engine, the beginning of a call to anything outside, the time between its
    effect and its answer, and the time just before and just after a transaction is committed.
    """

    at: int | None = None
    passed: list[str] = field(default_factory=list[str])
    is_dead: bool = False

    def reach(self, moment: str) -> None:
        """Die here if it is time; the dead do nothing more."""
        if not self.is_dead:
            self.passed.append(moment)
            self.is_dead = len(self.passed) == self.at
        if self.is_dead:
            raise Killed(moment)

    def begin(self, at: int | None) -> None:
        """Count from here on, alive, and die at this moment."""
        self.at, self.is_dead = at, False
        self.passed.clear()


class MortalFaults(Faults):
    """`Faults` of fakes that are called by a mortal server."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self._death = death

    async def reached(self, method: str, *, after: bool = False) -> None:
        self._death.reach(f"{method}, {'done' if after else 'asked'}")
        await super().reached(method, after=after)


class MortalStore(Store):
    """A store that a mortal server writes to; what was committed stays."""

    def __init__(self, store: Store, death: Death) -> None:
        self._store = store
        self._death = death

    @property
    def server_id(self) -> str:
        return self._store.server_id

    @property
    def restored_at(self) -> datetime | None:
        return self._store.restored_at

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Generator[Records]:
        self._check()
        with self._store.transaction(wait=wait) as records:
            yield records
            self._death.reach("written")
        self._death.reach("committed")

    def snapshot(self) -> AbstractContextManager[Records]:
        self._check()
        return self._store.snapshot()

    def status(self) -> StoreStatus:
        return self._store.status()

    def check_writable(self) -> None:
        self._store.check_writable()

    def verify(self) -> None:
        self._store.verify()

    def close(self) -> None:
        self._store.close()

    def _check(self) -> None:
        if self._death.is_dead:
            raise Killed


def mortal_world(policy: Policy) -> tuple[World, Death]:
    """A server on the fakes, and what may befall it."""
    death = Death()
    store = MortalStore(SqliteStore.in_memory(), death)
    return World(policy=policy, store=store, faults=MortalFaults(death), passing=death.reach), death


async def reborn(world: World, death: Death) -> None:
    """Let whatever the dead server still had under way vanish, and another one begin on what is kept."""
    await world.clock.settle()
    await world.nexus.engine.close(grace=0)
    await world.nexus.close()
    death.begin(None)
    world.faults.clear()
    await world.restart()
