"""Takes up queued operations, a bounded number at a time, and carries each out step by step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from nexus_core.domain.operation import BEGINS_AS, INSIDE, Operation, OperationKind, OperationStatus, StepName
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.deadline import within
from nexus_core.engine.fault_points import Moment, Passing, of_operation
from nexus_core.engine.journal import save, workspace_of
from nexus_core.engine.run import Run
from nexus_core.engine.steps import Action
from nexus_core.errors import NexusError, ProviderUnavailable, StoreFailed, Unavailable
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.meters import Meters
from nexus_core.ports.store import Store

_log = logging.getLogger(__name__)

_PROVISION: Final = frozenset({OperationKind.CREATE, OperationKind.START})
_OTHERS: Final = frozenset(OperationKind) - _PROVISION


@dataclass(frozen=True, slots=True)
class _Lane:
    """Kinds of operation that share a bound. Stopping never waits behind a queue of creations.

    ``width`` are at work on the node at once; with those that wait for something inside their workspace,
    such as a set-up, it is ``most``.
    """

    kinds: frozenset[OperationKind]
    width: int
    most: int


class Engine:
    """Runs operations of the store until it is closed.

    What is accepted is durable: an operation that was under way when the process ended is taken
    up again by `open` at its first unfinished step. Everything here runs on one event loop.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        actions: Mapping[StepName, Action],
        policy: Policy,
        is_up: Callable[[Workspace, Operation], Coroutine[Any, Any, bool]],
        ended: Callable[[], None],
        meters: Meters,
        passing: Passing,
    ) -> None:
        """``is_up`` says whether a workspace's container runs.

        ``ended`` is called whenever an operation has come to its end, ``passing`` at each fault point.
        """
        self._store = store
        self._clock = clock
        self._actions = actions
        self._policy = policy
        self._is_up = is_up
        self._tell_ended = ended
        self._meters = meters
        self._pass = passing
        self._lanes = (
            _Lane(_PROVISION, policy.creations_at_once, policy.creations_at_once + policy.waiting_inside),
            _Lane(_OTHERS, policy.others_at_once, policy.others_at_once),
        )
        self._latest: dict[str, asyncio.Task[None]] = {}  # by workspace
        self._kinds: dict[asyncio.Task[None], OperationKind] = {}
        self._inside: set[asyncio.Task[None]] = set()  # these wait for what goes on inside, and take no place
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._open = False

    def open(self) -> int:
        """Take up what the last process left, and start working; how many operations were resumed."""
        with self._store.transaction() as records:
            resumed = records.operations.requeue_running()
        self._open = True
        self.admit()
        return resumed

    async def close(self, grace: float = 20.0) -> None:
        """Stop working: let short operations end within ``grace`` seconds, leave the rest to the next start.

        Nothing is marked as cancelled; the store says what was under way. Idempotent.
        """
        self._open = False
        short = {task for task, kind in self._kinds.items() if kind in _OTHERS}
        if short:
            with suppress(TimeoutError):
                await within(self._clock, grace, asyncio.wait(short))
        tasks = list(self._kinds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stopping = ProviderUnavailable("The server is stopping", why="What was accepted goes on when it is back.")
        for operation_id in list(self._waiters):
            self._resolve(operation_id, stopping)

    def admit(self) -> None:
        """Take up as many queued operations as there is room for, oldest first.

        Called whenever something was queued or has ended. A workspace whose creation is taken up
        is ``creating`` when this returns. A database that does not answer is tried again later.
        """
        if not self._open:
            return
        try:
            for lane in self._lanes:
                under_way = {task for task, kind in self._kinds.items() if kind in lane.kinds}
                room = min(lane.width - len(under_way - self._inside), lane.most - len(under_way))
                if room <= 0:
                    continue
                with self._store.snapshot() as records:
                    queued = records.operations.queued(lane.kinds, limit=room)
                for operation in queued:
                    self._claim(operation)
        except (Unavailable, StoreFailed) as error:
            _log.warning("cannot take up operations: %s", error, extra={"code": error.code})

    def cancel(self, workspace_id: str) -> None:
        """Interrupt the work on this workspace that was given up in the store.

        The operation that replaces it begins when the interrupted one has let go.
        """
        task = self._latest.get(workspace_id)
        if task is not None:
            task.cancel()

    async def completion(self, operation_id: str) -> Operation:
        """The operation once it is over.

        Raises why as soon as it has to wait for the provider or the database, and `Unavailable` if the
        engine closes; the operation itself goes on.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._is_over(operation_id):
            waiters = self._waiters.setdefault(operation_id, set())
            waiters.add(waiter)
            try:
                await waiter
            finally:
                waiters.discard(waiter)
        with self._store.snapshot() as records:
            operation = records.operations.get(operation_id)
        if operation is None:
            raise NexusError(f"Operation {operation_id} is not known any more")
        return operation

    async def idle(self) -> None:
        """Return when nothing is under way."""
        while self._kinds:
            await asyncio.wait(list(self._kinds))
            await asyncio.sleep(0)  # what has ended makes room for what waits

    def _is_over(self, operation_id: str) -> bool:
        with self._store.snapshot() as records:
            operation = records.operations.get(operation_id)
        return operation is None or operation.finished_at is not None

    def _claim(self, operation: Operation) -> None:
        self._pass(of_operation(operation.kind, Moment.QUEUED))
        now = self._clock.now()
        is_resumed = operation.started_at is not None
        operation = replace(operation, status=OperationStatus.RUNNING, started_at=operation.started_at or now)
        with self._store.transaction() as records:
            workspace = workspace_of(records, operation)
            records.operations.update(operation)
            first = BEGINS_AS[operation.kind]
            if first is not None and workspace.status is not first:
                save(records, workspace, workspace.become(first, now), now)
        self._pass(of_operation(operation.kind, Moment.CLAIMED))
        run = Run(
            operation,
            is_resumed=is_resumed,
            is_up=self._is_up,
            store=self._store,
            clock=self._clock,
            actions=self._actions,
            policy=self._policy,
            meters=self._meters,
            passing=self._pass,
        )
        carried_out = self._carry_out(run, after=self._latest.get(workspace.id))
        task = asyncio.get_running_loop().create_task(carried_out, name=operation.id)
        self._latest[workspace.id] = task
        self._kinds[task] = operation.kind
        began = self._clock.monotonic()
        task.add_done_callback(lambda ended: self._ended(ended, operation, began))

    async def _carry_out(self, run: Run, *, after: asyncio.Task[None] | None) -> None:
        await _let_go(after)
        await run.carry_out(stalled=lambda error: self._resolve(run.operation.id, error), entered=self._entered)

    def _entered(self, step: StepName) -> None:
        """Make room for another when an operation comes to what goes on inside its workspace."""
        task = asyncio.current_task()
        if step in INSIDE and task is not None and task not in self._inside:
            self._inside.add(task)
            asyncio.get_running_loop().call_soon(self.admit)

    def _ended(self, task: asyncio.Task[None], operation: Operation, began: float) -> None:
        del self._kinds[task]
        self._inside.discard(task)
        if self._latest.get(operation.workspace_id) is task:
            del self._latest[operation.workspace_id]
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Run records every failure of a step; what arrives here is a fault of the engine itself.
            _log.error("operation met a fault", exc_info=fault, extra={"workspace_id": operation.workspace_id})
        if task.cancelled() and self._open:
            # Given up for another; a close only interrupts.
            self._meters.operation_ended(operation.cancelled(self._clock.now()), self._clock.monotonic() - began)
        self._tell_ended()
        if self._open:
            self._resolve(operation.id, None)
            asyncio.get_running_loop().call_soon(self.admit)
        elif not task.cancelled():
            self._resolve(operation.id, None)

    def _resolve(self, operation_id: str, error: NexusError | None) -> None:
        for waiter in self._waiters.pop(operation_id, ()):
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


async def _let_go(task: asyncio.Task[None] | None) -> None:
    """Wait until a cancelled predecessor has ended, even while being cancelled: two never overlap."""
    cancelled = False
    while task is not None and not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
