"""Misbehaviour on demand: the same small language for every fake."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from nexus_core.ports.clock import Clock


@dataclass(slots=True, eq=False)
class Hang:
    """A place where calls are stuck until they are let go.

    ``await hang.entered.wait()`` returns once a call is stuck there; `release` lets those that are
    stuck, and all that come later, go on. A call that is cancelled meanwhile ends as cancelled.
    """

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let every call go on from here."""
        self._released.set()

    async def pass_through(self) -> None:
        """Be stuck here until released."""
        self.entered.set()
        await self._released.wait()


@dataclass(slots=True, eq=False)
class _Plan:
    """What shall happen to which calls of one method."""

    method: str
    after: bool
    skip: int
    times: int | None
    error: BaseException | None = None
    hang: Hang | None = None
    delay: tuple[Clock, float] | None = None

    def takes(self, method: str, after: bool) -> bool:
        """Whether this call is one the plan is meant for; counts it."""
        if (method, after) != (self.method, self.after) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """What a fake shall do wrong, and the record of what was asked of it.

    Plans are worked through in the order they were made, so ``hang`` and then ``fail`` gives a call
    that is stuck and fails once released. Everywhere, ``skip`` calls pass untouched first, then
    ``times`` calls are met (None: every one until `clear`), and ``after_effect`` says that the
    fake's effect has happened by then: the work is done, and the caller does not learn it.

    One object may serve several fakes whose methods have different names.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The methods called so far, in order."""
        self._plans: list[_Plan] = []

    def fail(
        self, method: str, error: BaseException, *, times: int | None = 1, skip: int = 0, after_effect: bool = False
    ) -> None:
        """Raise ``error`` from calls of ``method``."""
        self._plans.append(_Plan(method, after_effect, skip, times, error=error))

    def hang(self, method: str, *, times: int | None = 1, skip: int = 0, after_effect: bool = False) -> Hang:
        """Let calls of ``method`` be stuck until the handle that is returned is released."""
        hang = Hang()
        self._plans.append(_Plan(method, after_effect, skip, times, hang=hang))
        return hang

    def slow(
        self,
        method: str,
        seconds: float,
        clock: Clock,
        *,
        times: int | None = None,
        skip: int = 0,
        after_effect: bool = False,
    ) -> None:
        """Let calls of ``method`` take this much longer by the clock's reckoning."""
        self._plans.append(_Plan(method, after_effect, skip, times, delay=(clock, seconds)))

    def clear(self, method: str | None = None) -> None:
        """Forget the plans for one method, or all; calls that are stuck are let go."""
        for plan in self._plans:
            if plan.hang is not None and method in (None, plan.method):
                plan.hang.release()
        self._plans = [plan for plan in self._plans if method not in (None, plan.method)]

    def count(self, method: str) -> int:
        """How often ``method`` has been called."""
        return self.calls.count(method)

    async def reached(self, method: str, *, after: bool = False) -> None:
        """For fakes: called first in every method, and once more when its effect has happened."""
        if not after:
            self.calls.append(method)
        for plan in list(self._plans):
            if not plan.takes(method, after):
                continue
            if plan.delay is not None:
                clock, seconds = plan.delay
                await clock.sleep(seconds)
            if plan.hang is not None:
                await plan.hang.pass_through()
            if plan.error is not None:
                raise plan.error
