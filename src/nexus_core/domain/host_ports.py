"""TCP ports of the host, leased to workspaces from a range."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nexus_core.errors import HostPortsExhausted, InvalidRequest


class PortKind(StrEnum):
    """What a leased port leads to."""

    SSH = "ssh"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Lease:
    """A host port held by a workspace until ``released_at``."""

    port: int
    kind: PortKind
    workspace_id: str
    allocated_at: datetime
    released_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise InvalidRequest(
                f"{self.first}-{self.last} is not a range of ports",
                fix="Give the lower and the higher of two ports between 1 and 65535.",
            )

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """The range that ``2222-2299`` stands for, else `InvalidRequest`."""
        first, dash, last = text.partition("-")
        # Eleven characters hold 65535-65535; int() itself refuses digits by the thousand with an error of its own.
        if not (dash and first.isdecimal() and last.isdecimal() and text.isascii() and len(text) <= 11):
            raise InvalidRequest(f"{text[:40]!r} is not a range of ports", fix="Write it like 2222-2299.")
        return cls(int(first), int(last))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def lowest_free(self, leased: Collection[int], occupied: Collection[int] = ()) -> int:
        """The lowest port that is neither leased nor occupied by something else on the host.

        Raises `HostPortsExhausted` when there is none. Lowest first keeps the numbers people type
        small and makes the choice repeatable.
        """
        for port in self:
            if port not in leased and port not in occupied:
                return port
        held = sum(port in self for port in leased)
        raise HostPortsExhausted(
            "No host port is free for another workspace",
            why=f"All {len(self)} of {self} are taken ({held} leased, the rest by other programs on the host).",
            details={"first": self.first, "last": self.last, "leased": held},
        )
