"""Dying on purpose, for trials of what survives."""

from __future__ import annotations

import os
import signal

from nexus_core.engine.fault_points import every
from nexus_core.errors import Invalid


class DeathAt:
    """Kills this process, as ``kill -9`` does, the first time it passes one named fault point.

    Takes the name, or None to let every point pass. Raises `Invalid` for a name that is none.
    """

    def __init__(self, point: str | None) -> None:
        if point is not None and point not in every():
            raise Invalid(
                f"There is no fault point {point[:80]!r}",
                fix="Name one of those in nexus_core.engine.fault_points, as create.start_instance.acted.",
            )
        self._point = point

    def __call__(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
