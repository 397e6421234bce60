"""What every `Meters` promises, by ports/meters.py.

A test module of an adapter derives from `MetersContract` and gives it a fixture ``stage``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from nexus_core.domain.operation import Operation, OperationKind, OperationStatus, StepName, StepStatus
from nexus_core.ports.meters import Meters

AT = datetime(2026, 1, 17, 10, 30, tzinfo=UTC)


@dataclass(frozen=True)
class MetersStage:
    """Meters, and what they say was counted: how often, and for how many seconds altogether."""

    meters: Meters
    operations: Callable[[str, str], tuple[int, float]]
    steps: Callable[[str, str], tuple[int, float]]
    errors: Callable[[str], int]


def ended(kind: OperationKind, status: OperationStatus = OperationStatus.SUCCEEDED, after: float = 2.0) -> Operation:
    """An operation that was over so many seconds after it was asked for."""
    return Operation("op-1", "ws-1", kind, status, (), AT, started_at=AT, finished_at=AT + timedelta(seconds=after))


class MetersContract:
    """Derive from it and provide ``stage``."""

    def test_nothing_is_counted_before_it_happens(self, stage: MetersStage) -> None:
        assert stage.operations("create", "succeeded") == (0, 0)
        assert stage.steps("create_instance", "done") == (0, 0)
        assert stage.errors("provider_unavailable") == 0

    def test_operations_add_up_by_what_they_were_and_how_they_ended(self, stage: MetersStage) -> None:
        stage.meters.operation_ended(ended(OperationKind.CREATE), 1.5)
        stage.meters.operation_ended(ended(OperationKind.CREATE), 0.5)
        stage.meters.operation_ended(ended(OperationKind.CREATE, OperationStatus.FAILED), 4)
        assert stage.operations("create", "succeeded") == (2, 2.0)
        assert stage.operations("create", "failed") == (1, 4)
        assert stage.operations("start", "succeeded") == (0, 0)

    def test_steps_add_up_by_name_and_end(self, stage: MetersStage) -> None:
        stage.meters.step_ended(StepName.RUN_SETUP, StepStatus.DONE, 1800)
        stage.meters.step_ended(StepName.RUN_SETUP, StepStatus.FAILED, 0.005)
        assert stage.steps("run_setup", "done") == (1, 1800)
        assert stage.steps("run_setup", "failed") == (1, 0.005)

    def test_errors_are_counted_by_code_also_one_that_nobody_knows(self, stage: MetersStage) -> None:
        for code in ("provider_unavailable", "database_busy", "provider_unavailable", "flux_compensator_failed"):
            stage.meters.work_failed(code)
        assert stage.errors("provider_unavailable") == 2
        assert stage.errors("database_busy") == stage.errors("flux_compensator_failed") == 1

    @pytest.mark.parametrize("kind", OperationKind)
    @pytest.mark.parametrize("status", OperationStatus)
    def test_every_end_of_an_operation_is_taken(
        self, stage: MetersStage, kind: OperationKind, status: OperationStatus
    ) -> None:
        stage.meters.operation_ended(ended(kind, status), 0)
        assert stage.operations(str(kind), str(status)) == (1, 0)

    @pytest.mark.parametrize("name", StepName)
    @pytest.mark.parametrize("status", StepStatus)
    def test_every_end_of_a_step_is_taken(self, stage: MetersStage, name: StepName, status: StepStatus) -> None:
        stage.meters.step_ended(name, status, 0)
        assert stage.steps(str(name), str(status)) == (1, 0)

    def test_an_operation_that_was_over_before_it_was_asked_for_harms_nothing(self, stage: MetersStage) -> None:
        """The time of day may be set back while something is under way."""
        stage.meters.operation_ended(ended(OperationKind.CREATE, after=-3600), 1)
        assert stage.operations("create", "succeeded") == (1, 1)
