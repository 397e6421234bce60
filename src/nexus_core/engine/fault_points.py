"""Named places between what the engine does and what it writes down, at which a trial lets the server die.

Each is the name of an operation's kind, of one of its steps, and of a moment, as
``create.start_instance.acted``; ``forward`` and ``unforward`` are no operations and have moments alone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from nexus_core.domain.operation import STEPS, OperationKind, StepName

Passing = Callable[[str], None]
"""Told the name of each point that is passed; what it raises is not caught."""


class Moment(StrEnum):
    """When, in the life of an operation or a step."""

    QUEUED = "queued"  # the operation was accepted, and nobody works on it
    CLAIMED = "claimed"  # it is recorded as running
    BEGUN = "begun"  # the step is recorded as running, and nothing is done
    ACTED = "acted"  # its effect has happened, and is not recorded
    RECORDED = "recorded"  # the end of the step is recorded
    ENDED = "ended"  # the end of the operation is recorded


_OF_AN_OPERATION: Final = (Moment.QUEUED, Moment.CLAIMED, Moment.ENDED)
_OF_A_STEP: Final = (Moment.BEGUN, Moment.ACTED, Moment.RECORDED)
FORWARD: Final = ("forward.begun", "forward.acted", "forward.ended")
UNFORWARD: Final = ("unforward.acted", "unforward.ended")


def of_operation(kind: OperationKind, moment: Moment) -> str:
    """The point's name at a moment of the operation as a whole."""
    return f"{kind}.{moment}"


def of_step(kind: OperationKind, step: StepName, moment: Moment) -> str:
    """The point's name at a moment of one step."""
    return f"{kind}.{step}.{moment}"


def every() -> tuple[str, ...]:
    """All points there are."""
    operations = (of_operation(kind, moment) for kind in OperationKind for moment in _OF_AN_OPERATION)
    steps = (of_step(kind, step, moment) for kind in OperationKind for step in STEPS[kind] for moment in _OF_A_STEP)
    return (*operations, *steps, *FORWARD, *UNFORWARD)


def unheeded(point: str) -> None:
    """Pass every point by."""
