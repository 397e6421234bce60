"""Requests that may be sent again without being done again, in the table ``idempotency_keys``."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Final

from nexus_core.errors import IdempotencyConflict
from nexus_core.ports.records import IdempotencyKey, IdempotencyKeys
from nexus_sqlite.errors import is_unique_violation
from nexus_sqlite.moments import from_micros, to_micros

ADD: Final = """
INSERT INTO idempotency_keys (caller, key, request_digest, workspace_id, created_at) VALUES (?, ?, ?, ?, ?)
"""
GET: Final = """
SELECT caller, key, request_digest, workspace_id, created_at FROM idempotency_keys WHERE caller = ? AND key = ?
"""
PURGE: Final = "DELETE FROM idempotency_keys WHERE created_at < ?"


class SqliteIdempotencyKeys(IdempotencyKeys):
    """`IdempotencyKeys` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, key: IdempotencyKey) -> None:
        row = (key.caller, key.key, key.request_digest, key.workspace_id, to_micros(key.created_at))
        try:
            self._connection.execute(ADD, row)
        except sqlite3.IntegrityError as exc:
            if is_unique_violation(exc, "idempotency_keys.caller", "idempotency_keys.key"):
                raise IdempotencyConflict("This Idempotency-Key was used before") from exc
            raise

    def get(self, caller: str, key: str) -> IdempotencyKey | None:
        row = self._connection.execute(GET, (caller, key)).fetchone()
        if row is None:
            return None
        of, name, request_digest, workspace_id, created_at = row
        return IdempotencyKey(of, name, request_digest, workspace_id, from_micros(created_at))

    def purge(self, before: datetime) -> int:
        return self._connection.execute(PURGE, (to_micros(before),)).rowcount
