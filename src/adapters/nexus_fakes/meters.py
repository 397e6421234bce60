"""Meters that remember what they were told."""

from __future__ import annotations

from dataclasses import dataclass, field

from nexus_core.domain.operation import Operation, StepName, StepStatus
from nexus_core.ports.meters import Meters


@dataclass
class FakeMeters(Meters):
    """Keeps everything in the order in which it was told, for tests to look at.

    ``operations`` are (kind, status, seconds), ``steps`` are (name, status, seconds), ``errors`` are codes.
    """

    operations: list[tuple[str, str, float]] = field(default_factory=list)
    steps: list[tuple[str, str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def operation_ended(self, operation: Operation, seconds: float) -> None:
        self.operations.append((str(operation.kind), str(operation.status), seconds))

    def step_ended(self, name: StepName, status: StepStatus, seconds: float) -> None:
        self.steps.append((str(name), str(status), seconds))

    def work_failed(self, code: str) -> None:
        self.errors.append(code)
