"""What the benchmarks measure: medians, beside the limit of the machine where there is one."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Figure:
    """One measurement: milliseconds, beside the limit of the machine where there is one."""

    name: str
    median_ms: float
    p99_ms: float
    count: int
    limit: str = ""
    limit_ms: float | None = None
    parts_ms: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> str:
        return f"{self.median_ms / self.limit_ms:.2f}" if self.limit_ms else ""


def figure(name: str, seconds: list[float], *, limit: str = "", limits: list[float] | None = None) -> Figure:
    """The medians of what was measured."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    limit_ms = statistics.median(limits) * 1000 if limits else None
    return Figure(name, statistics.median(ordered) * 1000, p99 * 1000, len(ordered), limit, limit_ms)
