"""What the clients asked for and were told, and what was done to their containers; the verdict compares."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from math import inf
from pathlib import Path


@dataclass
class Person:
    """One user: its token, and every key it ever had, the latest acknowledged one last."""

    name: str
    token: str
    keys: list[Path]
    turn: threading.Lock = field(default_factory=threading.Lock)  # one rotation after another
    in_doubt: list[Path] = field(default_factory=list[Path])  # keys whose exchange was not answered


@dataclass
class Move:
    """A start, stop or deletion that was asked for."""

    kind: str
    sent: float
    answered: float = inf
    status: int | None = None  # None: no answer came


@dataclass
class Asked:
    """A workspace that a client asked for; ``id`` is empty until the request was acknowledged."""

    name: str
    owner: str
    services: tuple[str, ...]
    sent: float
    id: str = ""
    moves: list[Move] = field(default_factory=list[Move])
    harms: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def last(self, kind: str, status: int) -> Move | None:
        """The latest move of this kind that was answered so."""
        return next((one for one in reversed(self.moves) if one.kind == kind and one.status == status), None)

    @property
    def is_deleted(self) -> bool:
        """Whether its deletion was acknowledged, by the first answer or a later one."""
        return self.last("delete", 204) is not None or self.last("delete", 404) is not None

    @property
    def is_removed(self) -> bool:
        """Whether its container was deleted by hand: it never comes back."""
        return any("delete" in what for _, what in self.harms)

    def was_asked(self, *kinds: str, since: float = 0.0) -> bool:
        """Whether such a move was under way at or after this moment, answered or not."""
        return any(one.kind in kinds and one.answered >= since for one in self.moves)

    def was_harmed(self, since: float) -> bool:
        """Whether its container was harmed by hand after this moment."""
        return any(moment >= since for moment, _ in self.harms)


class Ledger:
    """Everybody's workspaces, the power cuts, and when LXD, the database or the server was last disturbed."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.asked: list[Asked] = []
        self.cuts: list[float] = []
        self.disturbed_until = 0.0
        self._lock = threading.Lock()

    def add(self, asked: Asked) -> None:
        """A request for a workspace is about to be sent."""
        with self._lock:
            self.asked.append(asked)

    def present(self, owner: str | None = None) -> list[Asked]:
        """The acknowledged workspaces, of one person or of all, whose deletion was not."""
        with self._lock:
            return [one for one in self.asked if one.id and not one.is_deleted and owner in (None, one.owner)]

    def find(self, workspace_id: str) -> Asked | None:
        """The request behind a workspace; None while its answer is still on the way."""
        with self._lock:
            return next((one for one in self.asked if one.id == workspace_id), None)

    def harm(self, workspace_id: str, what: str) -> bool:
        """Note that the container is about to be harmed; False, and it must be left alone, if it is not known."""
        asked = self.find(workspace_id)
        if asked is not None:
            asked.harms.append((time.time(), what))
        return asked is not None

    def disturb(self, seconds: float) -> None:
        """For this long and a while after, 503 is a fair answer."""
        self.disturbed_until = max(self.disturbed_until, time.time() + seconds)
