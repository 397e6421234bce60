"""The life of a workspace as one table; every status change in the program goes through it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from nexus_core.errors import InvalidStatusTransition, WorkspaceAlreadyStopped


class Status(StrEnum):
    """What a workspace is doing."""

    PENDING = "pending"
    CREATING = "creating"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    ERROR = "error"
    DELETING = "deleting"
    DELETED = "deleted"


_S = Status

TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    # Waits for a place at the node; leaves by being taken up, given up or removed.
    _S.PENDING: frozenset({_S.CREATING, _S.STOPPING, _S.DELETING}),
    _S.CREATING: frozenset({_S.RUNNING, _S.ERROR, _S.STOPPING, _S.DELETING}),
    # A container that died on its own is shown as stopped, one that vanished as error.
    _S.RUNNING: frozenset({_S.STOPPING, _S.STOPPED, _S.ERROR, _S.DELETING}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.ERROR, _S.DELETING}),
    _S.STOPPED: frozenset({_S.STARTING, _S.ERROR, _S.DELETING}),
    _S.STARTING: frozenset({_S.RUNNING, _S.ERROR, _S.STOPPING, _S.DELETING}),
    _S.ERROR: frozenset({_S.STARTING, _S.STOPPING, _S.DELETING}),
    _S.DELETING: frozenset({_S.DELETED, _S.ERROR}),
    _S.DELETED: frozenset(),
}

IN_TRANSIT: Final = frozenset({_S.PENDING, _S.CREATING, _S.STARTING, _S.STOPPING, _S.DELETING})
"""Statuses that an operation under way will leave by itself."""


class Move(StrEnum):
    """What a person may ask of a workspace, named by where it leads."""

    START = "running"
    STOP = "stopped"
    DELETE = "deleted"


_FIRST_STATUS: Final[Mapping[Move, Status]] = {
    Move.START: _S.STARTING,
    Move.STOP: _S.STOPPING,
    Move.DELETE: _S.DELETING,
}


def allowed_moves(status: Status) -> tuple[Move, ...]:
    """What may be asked of a workspace in this status, in a fixed order."""
    return tuple(move for move, first in _FIRST_STATUS.items() if first in TRANSITIONS[status])


def begin(status: Status, move: Move) -> Status:
    """The status in which the asked move begins.

    Raises `WorkspaceAlreadyStopped` for stopping what is stopped, and `InvalidStatusTransition`
    for any other move that the table does not allow.
    """
    if status is _S.STOPPED and move is Move.STOP:
        raise WorkspaceAlreadyStopped("The workspace is stopped already")
    first = _FIRST_STATUS[move]
    if first not in TRANSITIONS[status]:
        allowed = [str(other) for other in allowed_moves(status)]
        raise InvalidStatusTransition(
            f"A workspace that is {status} cannot become {move}",
            details={"from": str(status), "to": str(move), "allowed": allowed},
        )
    return first


def check(status: Status, new: Status) -> Status:
    """The new status if the table allows the change, else `InvalidStatusTransition`."""
    if new not in TRANSITIONS[status]:
        raise InvalidStatusTransition(
            f"A workspace that is {status} cannot become {new}",
            details={"from": str(status), "to": str(new), "allowed": sorted(map(str, TRANSITIONS[status]))},
        )
    return new


def diagram() -> str:
    """The table as a Mermaid state diagram, as docs/architecture.md shows it."""
    lines = ["stateDiagram-v2", f"    [*] --> {_S.PENDING}"]
    lines += [
        f"    {status} --> {new}" for status, following in TRANSITIONS.items() for new in Status if new in following
    ]
    return "\n".join([*lines, f"    {_S.DELETED} --> [*]"])
