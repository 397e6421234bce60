"""Time, so that tests can push it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime


class Clock(ABC):
    """Tells and waits for time."""

    @abstractmethod
    def now(self) -> datetime:
        """The time of day in UTC, aware; may jump when the host's clock is set."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds; cancelling the caller ends the wait."""
