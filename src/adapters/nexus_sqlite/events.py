"""What happened, in order, in the table ``events``.

Ids are AUTOINCREMENT: one that a reader has seen is never given out again, even after a purge. There
is one writer, so ids become visible in their order and a reader that asks for what came after the
last id it saw misses nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from nexus_core.ports.records import Event, Events
from nexus_sqlite.moments import from_micros, to_micros

ADD: Final = "INSERT INTO events (workspace_id, kind, at, data) VALUES (?, ?, ?, ?)"
_SELECT: Final = "SELECT id, workspace_id, kind, at, data FROM events "
AFTER: Final = _SELECT + "WHERE id > ? ORDER BY id LIMIT ?"
AFTER_OF_WORKSPACE: Final = _SELECT + "WHERE workspace_id = ? AND id > ? ORDER BY id LIMIT ?"
PURGE: Final = "DELETE FROM events WHERE at < ?"


class SqliteEvents(Events):
    """`Events` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, event: Event) -> None:
        self._connection.execute(ADD, (event.workspace_id, event.kind, to_micros(event.at), json.dumps(event.data)))

    def after(self, event_id: int, *, workspace_id: str | None = None, limit: int = 500) -> Sequence[Event]:
        if workspace_id is None:
            rows = self._connection.execute(AFTER, (event_id, limit)).fetchall()
        else:
            rows = self._connection.execute(AFTER_OF_WORKSPACE, (workspace_id, event_id, limit)).fetchall()
        return [
            Event(workspace_id=of, kind=kind, at=from_micros(at), data=json.loads(data), id=number)
            for number, of, kind, at, data in rows
        ]

    def purge(self, before: datetime) -> int:
        return self._connection.execute(PURGE, (to_micros(before),)).rowcount
