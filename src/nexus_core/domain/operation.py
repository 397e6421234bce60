"""An operation: one durable unit of work on a workspace, made of idempotent steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.workspace import Workspace


class OperationKind(StrEnum):
    """What an operation brings about."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    DELETE = "delete"
    REKEY = "rekey"


class OperationStatus(StrEnum):
    """How far an operation is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    """Every step there is, in the order in which a life goes through them."""

    CREATE_INSTANCE = "create_instance"
    PUBLISH_SSH = "publish_ssh"
    START_INSTANCE = "start_instance"
    WAIT_FOR_SSH = "wait_for_ssh"
    CLONE_REPOSITORY = "clone_repository"
    RUN_SETUP = "run_setup"
    START_SERVICES = "start_services"
    FORWARD_PORTS = "forward_ports"
    INSTALL_KEY = "install_key"
    WITHDRAW_SSH = "withdraw_ssh"
    STOP_INSTANCE = "stop_instance"
    DELETE_INSTANCE = "delete_instance"


class StepStatus(StrEnum):
    """How far a step is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


_N = StepName

PROVISIONING: Final = (
    _N.CREATE_INSTANCE,
    _N.PUBLISH_SSH,
    _N.START_INSTANCE,
    _N.WAIT_FOR_SSH,
    _N.CLONE_REPOSITORY,
    _N.RUN_SETUP,
    _N.START_SERVICES,
    _N.FORWARD_PORTS,
)
ONCE: Final = frozenset({_N.CREATE_INSTANCE, _N.CLONE_REPOSITORY, _N.RUN_SETUP})
"""Steps whose effect lasts: a later start skips them once they are done."""

INSIDE: Final = frozenset({_N.CLONE_REPOSITORY, _N.RUN_SETUP, _N.START_SERVICES})
"""Steps that wait for what goes on inside the workspace, which its own limits bound."""

STEPS: Final[Mapping[OperationKind, tuple[StepName, ...]]] = {
    OperationKind.CREATE: PROVISIONING,
    OperationKind.START: PROVISIONING,
    OperationKind.STOP: (_N.WITHDRAW_SSH, _N.STOP_INSTANCE),
    OperationKind.DELETE: (_N.WITHDRAW_SSH, _N.DELETE_INSTANCE),
    OperationKind.REKEY: (_N.INSTALL_KEY,),
}
"""What each operation goes through; one on a workspace where something is done for good skips that."""

BEGINS_AS: Final[Mapping[OperationKind, Status | None]] = {
    OperationKind.CREATE: Status.CREATING,
    OperationKind.START: Status.STARTING,
    OperationKind.STOP: Status.STOPPING,
    OperationKind.DELETE: Status.DELETING,
    OperationKind.REKEY: None,
}
ENDS_AS: Final[Mapping[OperationKind, Status | None]] = {
    OperationKind.CREATE: Status.RUNNING,
    OperationKind.START: Status.RUNNING,
    OperationKind.STOP: Status.STOPPED,
    OperationKind.DELETE: Status.DELETED,
    OperationKind.REKEY: None,
}
"""The workspace's status while an operation runs and after it has succeeded; None leaves it alone."""

DEADLINES: Final[Mapping[StepName, float]] = {
    # Seconds. Creation may download an image of some hundred megabytes and prepare it.
    _N.CREATE_INSTANCE: 900.0,
    _N.PUBLISH_SSH: 30.0,
    _N.START_INSTANCE: 120.0,
    _N.WAIT_FOR_SSH: 60.0,
    # Cloning and set-up fetch from elsewhere; services have each their own time, which this only bounds.
    _N.CLONE_REPOSITORY: 900.0,
    _N.RUN_SETUP: 1800.0,
    _N.START_SERVICES: 1800.0,
    _N.FORWARD_PORTS: 60.0,
    _N.INSTALL_KEY: 30.0,
    _N.WITHDRAW_SSH: 30.0,
    _N.STOP_INSTANCE: 90.0,
    _N.DELETE_INSTANCE: 90.0,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation and what became of it; ``duration_ms`` counts to its end."""

    name: StepName
    status: StepStatus = StepStatus.PENDING
    started_at: datetime | None = None
    duration_ms: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A durable list of steps; the first that is not over is where work goes on after a crash."""

    id: str
    workspace_id: str
    kind: OperationKind
    status: OperationStatus
    steps: tuple[Step, ...]
    created_at: datetime
    force: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def next_step(self) -> int | None:
        """The index of the first step still to be done, or None."""
        for index, step in enumerate(self.steps):
            if step.status in (StepStatus.PENDING, StepStatus.RUNNING):
                return index
        return None

    @property
    def duration_ms(self) -> int | None:
        """From being taken up to the end; None while it is not over or never began."""
        if self.started_at is None or self.finished_at is None:
            return None
        return round((self.finished_at - self.started_at).total_seconds() * 1000)

    def with_step(self, index: int, step: Step) -> Operation:
        """The same operation with one step replaced."""
        return replace(self, steps=(*self.steps[:index], step, *self.steps[index + 1 :]))

    def cancelled(self, now: datetime) -> Operation:
        """The same operation given up: what was not over is marked so."""
        steps = tuple(
            replace(step, status=StepStatus.CANCELLED, duration_ms=_elapsed_ms(step, now))
            if step.status in (StepStatus.PENDING, StepStatus.RUNNING)
            else step
            for step in self.steps
        )
        return replace(self, status=OperationStatus.CANCELLED, steps=steps, finished_at=now)


def plan(kind: OperationKind, workspace: Workspace, *, without: Collection[StepName] = ()) -> tuple[Step, ...]:
    """The steps this operation takes on this workspace.

    Those that were done for good, and those ``without`` anything to do, are ``skipped``.
    """
    done = {name for name in ONCE if name in workspace.provisioned}
    return tuple(
        Step(name, StepStatus.SKIPPED if name in done or name in without else StepStatus.PENDING)
        for name in STEPS[kind]
    )


def _elapsed_ms(step: Step, now: datetime) -> int | None:
    if step.started_at is None:
        return None
    return max(0, round((now - step.started_at).total_seconds() * 1000))
