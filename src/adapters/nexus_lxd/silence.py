"""An LXD that hangs, noticed once for everybody."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from nexus_lxd.errors import SLOW

_SPARED = 3.0  # seconds for which LXD is not asked again after it did not answer


class Silence:
    """Whether LXD has left a question unanswered just now; shared by all threads.

    One that hangs takes every request and keeps its thread waiting: then the many that wait behind
    are told at once, instead of one after another.
    """

    def __init__(self) -> None:
        self._answered = 0.0
        self._until = 0.0

    @contextmanager
    def noticed(self) -> Generator[None]:
        """Take notice of whether the question in this block is answered."""
        try:
            yield
        except SLOW:
            self._until = time.monotonic() + _SPARED
            raise
        self._answered, self._until = time.monotonic(), 0.0

    def check(self) -> None:
        """Raise `TimeoutError` if it is no use to ask yet."""
        if time.monotonic() < self._until:
            raise TimeoutError

    def answered_within(self, seconds: float) -> bool:
        """Whether a question was answered in these last seconds, and none was not since."""
        return self._until == 0.0 and time.monotonic() - self._answered < seconds
