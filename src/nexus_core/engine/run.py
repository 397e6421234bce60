"""One operation from its first unfinished step to its end, every step of it recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import (
    ENDS_AS,
    ONCE,
    PROVISIONING,
    Operation,
    OperationKind,
    OperationStatus,
    Step,
    StepName,
    StepStatus,
)
from nexus_core.domain.workspace import Failure, Workspace
from nexus_core.engine.deadline import within
from nexus_core.engine.fault_points import Moment, Passing, of_operation, of_step
from nexus_core.engine.journal import owner_of, save, tell_step, workspace_of
from nexus_core.engine.steps import Action, Edit, NothingToDo
from nexus_core.errors import (
    DatabaseBusy,
    DeadlineExceeded,
    InternalError,
    NexusError,
    ProviderUnavailable,
    StoreFailed,
)
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.meters import Meters
from nexus_core.ports.store import Records, Store

_log = logging.getLogger(__name__)
_SHORTEST_WAIT, _LONGEST_WAIT = 0.5, 15.0
_LONGEST_FOR_DATABASE = 2.0  # asking costs nothing, and all else waits with it

T = TypeVar("T")


class _WentDown(Exception):
    """The container, which this operation had started, does not run any more: it is to be started once more."""


class Run:
    """Carries out one operation that was taken up."""

    def __init__(
        self,
        operation: Operation,
        *,
        is_resumed: bool,
        is_up: Callable[[Workspace, Operation], Coroutine[Any, Any, bool]],
        store: Store,
        clock: Clock,
        actions: Mapping[StepName, Action],
        policy: Policy,
        meters: Meters,
        passing: Passing,
    ) -> None:
        self.operation = operation
        # Nobody looked for a while: the machine, and the container with it, may have gone down.
        self._is_unsure = is_resumed
        self._is_up = is_up
        self._store = store
        self._clock = clock
        self._actions = actions
        self._policy = policy
        self._meters = meters
        self._pass = passing

    async def carry_out(self, *, stalled: Callable[[NexusError], None], entered: Callable[[StepName], None]) -> None:
        """Do what is left of the operation and record how it ended.

        ``stalled`` is told whenever a step has to wait for the provider or the database, ``entered`` of each
        step that begins.
        Cancellation leaves the records as they are: whoever cancels has written there why.
        """
        began = self._clock.monotonic()
        while True:
            index = self.operation.next_step
            if index is not None:
                entered(self.operation.steps[index].name)
                try:
                    if not await self._step(index, stalled):
                        break
                except _WentDown:
                    await self._write(self._again_from_start)
            elif await self._write(self._end):
                break
            else:
                # The owner's key was changed while the container came up with the old one.
                rekeyed = (*self.operation.steps, Step(StepName.INSTALL_KEY))
                self.operation = replace(self.operation, steps=rekeyed)
        self._pass(of_operation(self.operation.kind, Moment.ENDED))
        self._meters.operation_ended(self.operation, self._clock.monotonic() - began)

    def _again_from_start(self, records: Records, _: datetime) -> None:
        """Plan once more what brings the container up; what was done for good stays done."""
        steps = tuple(
            Step(step.name) if step.name in PROVISIONING and step.name not in ONCE else step
            for step in self.operation.steps
        )
        self.operation = replace(self.operation, steps=steps)
        records.operations.update(self.operation)

    async def _step(self, index: int, stalled: Callable[[NexusError], None]) -> bool:
        """Whether the step succeeded and the operation goes on."""
        step = replace(self.operation.steps[index], status=StepStatus.RUNNING, started_at=self._clock.now(), error=None)
        await self._write(lambda records, now: self._record(records, index, step, now))
        self._pass_by(step.name, Moment.BEGUN)
        began = self._clock.monotonic()
        try:
            edit = await self._persist(index, step, stalled)
        except NexusError as error:
            reason = error
            self._meters.work_failed(error.code)
            self._meters.step_ended(step.name, StepStatus.FAILED, self._clock.monotonic() - began)
            failed = replace(step, status=StepStatus.FAILED, duration_ms=self._since(began), error=error.message)
            await self._write(lambda records, now: self._fail(records, index, failed, reason, now))
            return False
        self._pass_by(step.name, Moment.ACTED)
        if isinstance(edit, NothingToDo):
            ended, change = StepStatus.SKIPPED, None
        else:
            ended, change = StepStatus.DONE, edit
        done = replace(step, status=ended, duration_ms=self._since(began))
        await self._write(lambda records, now: self._done(records, index, done, change, now))
        self._meters.step_ended(step.name, ended, self._clock.monotonic() - began)
        self._pass_by(step.name, Moment.RECORDED)
        return True

    async def _persist(
        self,
        index: int,
        step: Step,
        stalled: Callable[[NexusError], None],
    ) -> Edit | NothingToDo | None:
        """What the step changed, however often the provider or the database has to be waited for."""
        pause = _SHORTEST_WAIT
        while True:
            try:
                if self._is_unsure and self._came_up and not await self._attempt(step.name, self._is_up):
                    raise _WentDown
                self._is_unsure = False
                return await self._attempt(step.name, self._actions[step.name])
            except (ProviderUnavailable, DatabaseBusy, StoreFailed) as away:
                self._is_unsure = True
                stalled(away)
                self._meters.work_failed(away.code)
                waiting = replace(step, error=away.message)
                await self._write(lambda records, now: self._record(records, index, waiting, now))  # noqa: B023  # awaited at once
                await self._clock.sleep(pause)
                longest = _LONGEST_WAIT if isinstance(away, ProviderUnavailable) else _LONGEST_FOR_DATABASE
                pause = min(pause * 2, longest)

    @property
    def _came_up(self) -> bool:
        """Whether the container was started by this operation."""
        return any(
            step.name is StepName.START_INSTANCE and step.status is StepStatus.DONE for step in self.operation.steps
        )

    async def _attempt(self, name: StepName, work: Callable[[Workspace, Operation], Coroutine[Any, Any, T]]) -> T:
        deadline = self._policy.deadlines[name]
        with self._store.snapshot() as records:
            workspace = workspace_of(records, self.operation)
        try:
            return await within(self._clock, deadline, work(workspace, self.operation))
        except TimeoutError as exc:
            raise DeadlineExceeded(f"The step {name} did not end within {deadline:g} seconds") from exc
        except NexusError:
            raise
        except Exception as exc:
            _log.exception("fault in step %s", name, extra={"workspace_id": workspace.id})
            raise InternalError(f"The step {name} met a fault in Nexus") from exc

    def _record(self, records: Records, index: int, step: Step, now: datetime) -> None:
        self.operation = self.operation.with_step(index, step)
        records.operations.update(self.operation)
        tell_step(records, self.operation, step, now)

    def _done(self, records: Records, index: int, step: Step, edit: Edit | None, now: datetime) -> None:
        self._record(records, index, step, now)
        before = workspace_of(records, self.operation)
        after = edit(before) if edit else before
        if step.name in ONCE:
            after = replace(after, provisioned=after.provisioned | {str(step.name)})
        if after != before:
            save(records, before, replace(after, updated_at=now), now)

    def _fail(self, records: Records, index: int, step: Step, error: NexusError, now: datetime) -> None:
        self.operation = replace(self.operation, status=OperationStatus.FAILED, finished_at=now)
        self._record(records, index, step, now)
        if ENDS_AS[self.operation.kind] is not None:
            workspace = workspace_of(records, self.operation)
            failure = Failure(error.code, error.message, str(step.name))
            save(records, workspace, workspace.become(Status.ERROR, now, error=failure), now)

    def _end(self, records: Records, now: datetime) -> bool:
        """Record the success, or answer False if the container admits another key than the owner's."""
        workspace = workspace_of(records, self.operation)
        final = ENDS_AS[self.operation.kind]
        if final is Status.RUNNING or self.operation.kind is OperationKind.REKEY:
            owner = owner_of(records, workspace)
            if owner.public_key.fingerprint != workspace.authorized_fingerprint:
                return False
        self.operation = replace(self.operation, status=OperationStatus.SUCCEEDED, finished_at=now)
        records.operations.update(self.operation)
        if final is Status.DELETED:
            records.leases.release(workspace.id, now)
        if final is not None:
            save(records, workspace, workspace.become(final, now), now)
        return True

    async def _write(self, record: Callable[[Records, datetime], T]) -> T:
        """Record something in one transaction, waiting for a database that does not answer."""
        pause = _SHORTEST_WAIT
        while True:
            before = self.operation
            try:
                with self._store.transaction() as records:
                    return record(records, self._clock.now())
            except (DatabaseBusy, StoreFailed) as error:
                self.operation = before
                self._meters.work_failed(error.code)
                _log.warning("waiting for the database: %s", error, extra={"code": error.code})
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_FOR_DATABASE)

    def _pass_by(self, step: StepName, moment: Moment) -> None:
        self._pass(of_step(self.operation.kind, step, moment))

    def _since(self, began: float) -> int:
        return max(0, round((self._clock.monotonic() - began) * 1000))
