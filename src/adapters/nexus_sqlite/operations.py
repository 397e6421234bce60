"""Work under way and work done, in the tables ``operations`` and ``operation_steps``.

"Last" means last added and "oldest" first added, by rowid: a clock that was set back changes neither
which operation is the workspace's present one nor whose turn it is. That at most one is not over is
held by a unique index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from nexus_core.domain.operation import Operation, OperationKind, OperationStatus, Step, StepName, StepStatus
from nexus_core.errors import InvalidStatusTransition, WorkspaceNotFound
from nexus_core.ports.records import Operations
from nexus_sqlite.errors import is_unique_violation
from nexus_sqlite.moments import from_micros, from_micros_or_null, to_micros, to_micros_or_null

ADD: Final = """
INSERT INTO operations (id, workspace_id, kind, status, force, created_at, started_at, finished_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE: Final = "UPDATE operations SET status = ?, started_at = ?, finished_at = ? WHERE id = ?"
# Adds a step or changes it; one that is as it was costs a look and no write.
PUT_STEP: Final = """
INSERT INTO operation_steps (operation_id, position, name, status, started_at, duration_ms, error)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (operation_id, position) DO UPDATE
SET name = excluded.name, status = excluded.status, started_at = excluded.started_at,
    duration_ms = excluded.duration_ms, error = excluded.error
WHERE (name, status, started_at, duration_ms, error)
      IS NOT (excluded.name, excluded.status, excluded.started_at, excluded.duration_ms, excluded.error)
"""
_SELECT: Final = """
SELECT id, workspace_id, kind, status, force, created_at, started_at, finished_at FROM operations
"""
# SQLite takes a partial index only where the query repeats the index's own condition word by word.
GET: Final = _SELECT + "WHERE id = ?"
UNFINISHED: Final = _SELECT + "WHERE workspace_id = ? AND status IN ('queued', 'running')"
LATEST: Final = _SELECT + "WHERE workspace_id = ? ORDER BY rowid DESC LIMIT 1"
# A list of values is one parameter, as JSON, so that no SQL is put together while running.
_OF_KINDS: Final = "AND kind IN (SELECT value FROM json_each(?))"
QUEUED: Final = (
    _SELECT + "WHERE status IN ('queued', 'running') AND status = 'queued' " + _OF_KINDS + " ORDER BY rowid LIMIT ?"
)
QUEUE_POSITION: Final = """
SELECT 1 + count(*) FROM operations WHERE status IN ('queued', 'running') AND status = 'queued'
      AND rowid < (SELECT rowid FROM operations WHERE id = ?)
"""
STEPS: Final = """
SELECT name, status, started_at, duration_ms, error FROM operation_steps WHERE operation_id = ? ORDER BY position
"""
REQUEUE_RUNNING: Final = """
UPDATE operations SET status = 'queued' WHERE status IN ('queued', 'running') AND status = 'running'
"""
COUNT_UNFINISHED: Final = """
SELECT status, count(*) FROM operations WHERE status IN ('queued', 'running') GROUP BY status
"""
# From the workspaces' side (CROSS JOIN keeps this order), newest first: few rows are touched before
# the limit is reached, however many operations there have been. What the steps measured, not the
# difference of two times of day: the clock may have been set in between.
CREATION_DURATIONS: Final = """
SELECT sum(s.duration_ms)
FROM workspaces AS w CROSS JOIN operations AS o ON o.workspace_id = w.id
     CROSS JOIN operation_steps AS s ON s.operation_id = o.id
WHERE w.provider = ? AND w.image = ? AND o.kind = 'create' AND o.status = 'succeeded' AND s.duration_ms IS NOT NULL
GROUP BY w.created_at, w.rowid
ORDER BY w.created_at DESC, w.rowid DESC LIMIT ?
"""


class SqliteOperations(Operations):
    """`Operations` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, operation: Operation) -> None:
        row = (
            operation.id,
            operation.workspace_id,
            operation.kind.value,
            operation.status.value,
            operation.force,
            to_micros(operation.created_at),
            to_micros_or_null(operation.started_at),
            to_micros_or_null(operation.finished_at),
        )
        with _one_at_a_time():
            self._connection.execute(ADD, row)
        self._put_steps(operation)

    def update(self, operation: Operation) -> None:
        row = (
            operation.status.value,
            to_micros_or_null(operation.started_at),
            to_micros_or_null(operation.finished_at),
            operation.id,
        )
        with _one_at_a_time():
            changed = self._connection.execute(UPDATE, row).rowcount
        if not changed:
            # Operations go only with their workspace.
            raise WorkspaceNotFound(f"Operation {operation.id} is gone, and its workspace with it")
        self._put_steps(operation)

    def get(self, operation_id: str) -> Operation | None:
        return self._one(GET, operation_id)

    def unfinished(self, workspace_id: str) -> Operation | None:
        return self._one(UNFINISHED, workspace_id)

    def latest(self, workspace_id: str) -> Operation | None:
        return self._one(LATEST, workspace_id)

    def queued(self, kinds: Collection[OperationKind], *, limit: int) -> Sequence[Operation]:
        wanted = json.dumps([kind.value for kind in kinds])
        return [self._operation(row) for row in self._connection.execute(QUEUED, (wanted, limit)).fetchall()]

    def queue_position(self, operation_id: str) -> int:
        position: int
        (position,) = self._connection.execute(QUEUE_POSITION, (operation_id,)).fetchone()
        return position

    def requeue_running(self) -> int:
        return self._connection.execute(REQUEUE_RUNNING).rowcount

    def count_unfinished(self) -> tuple[int, int]:
        counts: dict[str, int] = dict(self._connection.execute(COUNT_UNFINISHED).fetchall())
        return counts.get(OperationStatus.QUEUED, 0), counts.get(OperationStatus.RUNNING, 0)

    def creation_durations(self, provider: str, image: str, *, limit: int) -> Sequence[int]:
        rows = self._connection.execute(CREATION_DURATIONS, (provider, image, limit)).fetchall()
        return [milliseconds for (milliseconds,) in rows]

    def _one(self, query: str, key: str) -> Operation | None:
        row = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else self._operation(row)

    def _operation(self, row: tuple[Any, ...]) -> Operation:
        operation_id, workspace_id, kind, status, force, created_at, started_at, finished_at = row
        return Operation(
            id=operation_id,
            workspace_id=workspace_id,
            kind=OperationKind(kind),
            status=OperationStatus(status),
            steps=tuple(_step(step) for step in self._connection.execute(STEPS, (operation_id,)).fetchall()),
            created_at=from_micros(created_at),
            force=bool(force),
            started_at=from_micros_or_null(started_at),
            finished_at=from_micros_or_null(finished_at),
        )

    def _put_steps(self, operation: Operation) -> None:
        self._connection.executemany(
            PUT_STEP,
            [
                (
                    operation.id,
                    position,
                    step.name.value,
                    step.status.value,
                    to_micros_or_null(step.started_at),
                    step.duration_ms,
                    step.error,
                )
                for position, step in enumerate(operation.steps)
            ],
        )


@contextmanager
def _one_at_a_time() -> Generator[None]:
    """Name the rule that a second unfinished operation of a workspace would break."""
    try:
        yield
    except sqlite3.IntegrityError as exc:
        if is_unique_violation(exc, "operations.workspace_id"):
            raise InvalidStatusTransition("The workspace has other work under way") from exc
        raise


@lru_cache(4096)
def _step(row: tuple[Any, ...]) -> Step:
    name, status, started_at, duration_ms, error = row
    return Step(StepName(name), StepStatus(status), from_micros_or_null(started_at), duration_ms, error)
