"""What a copy of the database holds, and whether it is whole."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nexus_core.errors import StoreFailed
from nexus_sqlite import migrations
from nexus_sqlite.connections import connect_reader
from nexus_sqlite.errors import SQLITE_EXCEPTIONS, translate

PATIENCE: Final = 5.0
"""Seconds that other processes are waited for."""

SERVER_ID: Final = "SELECT id FROM server"
# Tables that every version of the schema has.
ROWS: Final = """
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM workspaces WHERE deleted_at IS NULL),
       (SELECT count(*) FROM workspaces), (SELECT count(*) FROM services), (SELECT count(*) FROM port_allocations),
       (SELECT count(*) FROM operations), (SELECT count(*) FROM operation_steps), (SELECT count(*) FROM events),
       (SELECT count(*) FROM api_tokens), (SELECT count(*) FROM idempotency_keys)
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """Whose database it is, and how much is in it; ``workspaces`` are those that are not deleted."""

    server_id: str
    schema_version: int
    rows: tuple[int, ...]

    @property
    def users(self) -> int:
        return self.rows[0]

    @property
    def workspaces(self) -> int:
        return self.rows[1]


def contents(connection: sqlite3.Connection) -> Contents:
    """What is in this database; raises `StoreFailed` or `SchemaTooNew` if it is not one that Nexus can use."""
    migrations.refuse_foreign(connection)
    version = migrations.schema_version(connection)
    if version == 0:
        raise StoreFailed("The database is empty", fix="Name a database of Nexus.")
    (server_id,) = connection.execute(SERVER_ID).fetchone()
    return Contents(server_id, version, tuple(connection.execute(ROWS).fetchone()))


def examine(copy: Path) -> Contents:
    """Look all of a copy through that nobody uses; what is in it.

    Raises `StoreFailed` if it is damaged or no database of Nexus, `SchemaTooNew` if it is of a newer one.
    """
    try:
        with closing(connect_reader(copy, PATIENCE)) as connection:
            # First, since it tells more than an error from somewhere inside.
            found = contents(connection)
            (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            refers_to_nothing = connection.execute("PRAGMA foreign_key_check").fetchone()
    except SQLITE_EXCEPTIONS as exc:
        raise _unusable(translate(exc).why) from exc
    if said != "ok" or refers_to_nothing is not None:
        raise _unusable("It is damaged.")
    return found


def _unusable(why: str) -> StoreFailed:
    return StoreFailed("The copy of the database is of no use", why=why, fix="Take another one; nothing was changed.")


def sync(path: Path) -> None:
    """Have what was written to the file, or the names in the folder, survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
