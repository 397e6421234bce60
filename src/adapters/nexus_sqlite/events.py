"""What happened, in order, in the table ``events``.

Ids are AUTOINCREMENT: one that a reader has seen is never given out again, even after a purge. There
is one writer, so ids become visible in their order and a reader that asks for what came after the
last id it saw misses nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from nexus_core.domain.lifecycle import Status
from nexus_core.ports.records import Event, Events, RecordedEvent
from nexus_sqlite.moments import from_micros, to_micros

ADD: Final = "INSERT INTO events (workspace_id, kind, at, data) VALUES (?, ?, ?, ?)"
# CROSS JOIN keeps SQLite from going through the workspaces first, and then having to sort.
_SELECT: Final = """
SELECT e.id, e.workspace_id, e.kind, e.at, e.data, w.name, u.github_username, u.id
FROM events AS e CROSS JOIN workspaces AS w ON w.id = e.workspace_id CROSS JOIN users AS u ON u.id = w.user_id
WHERE e.id > :after AND e.id <= :until
"""
# By (is the workspace given, is the owner given).
_WHERE: Final = {
    (False, False): "",
    (False, True): "AND w.user_id = :owner_id ",
    (True, False): "AND e.workspace_id = :workspace_id ",
    (True, True): "AND e.workspace_id = :workspace_id AND w.user_id = :owner_id ",
}
AFTER_PAGE: Final = {given: f"{_SELECT}{where}ORDER BY e.id LIMIT :limit" for given, where in _WHERE.items()}
# The table itself does not know the highest id any more once that row is purged.
NEWEST: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
OLDEST: Final = "SELECT min(id) FROM events"
LATEST_STATUS: Final = """
SELECT max(e.id)
FROM (SELECT id, kind, data FROM events WHERE workspace_id = ? ORDER BY id DESC LIMIT 10000) AS e
WHERE e.kind = 'status' AND json_extract(e.data, '$.status') IN (SELECT value FROM json_each(?))
"""
PURGE: Final = "DELETE FROM events WHERE at < ?"

_LAST: Final = 2**63 - 1


class SqliteEvents(Events):
    """`Events` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, event: Event) -> None:
        self._connection.execute(ADD, (event.workspace_id, event.kind, to_micros(event.at), json.dumps(event.data)))

    def after(
        self,
        event_id: int,
        *,
        until: int | None = None,
        workspace_id: str | None = None,
        owner_id: str | None = None,
        limit: int = 500,
    ) -> Sequence[RecordedEvent]:
        statement = AFTER_PAGE[workspace_id is not None, owner_id is not None]
        values = {
            "after": event_id,
            "until": _LAST if until is None else until,
            "workspace_id": workspace_id,
            "owner_id": owner_id,
            "limit": limit,
        }
        return [
            RecordedEvent(
                of, kind, from_micros(at), json.loads(data), id=number, name=name, owner=owner, owner_id=whose
            )
            for number, of, kind, at, data, name, owner, whose in self._connection.execute(statement, values)
        ]

    def newest_id(self) -> int:
        row = self._connection.execute(NEWEST).fetchone()
        return int(row[0]) if row else 0

    def oldest_id(self) -> int | None:
        (oldest,) = self._connection.execute(OLDEST).fetchone()
        return None if oldest is None else int(oldest)

    def latest_status(self, workspace_id: str, statuses: Collection[Status]) -> int | None:
        wanted = json.dumps([str(status) for status in statuses])
        (latest,) = self._connection.execute(LATEST_STATUS, (workspace_id, wanted)).fetchone()
        return None if latest is None else int(latest)

    def purge(self, before: datetime) -> int:
        return self._connection.execute(PURGE, (to_micros(before),)).rowcount
