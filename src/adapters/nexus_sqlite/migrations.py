"""The schema, as numbered steps that only go forward.

A step that was released is never edited: a change of mind is a new step. Each keeps its number in
its name, and the number of the last one applied is the schema's version. The comments inside the
DDL are stored by SQLite with the tables, so ``.schema`` on any Nexus database explains itself, and
docs/reference/database.md is made from them.
"""

from __future__ import annotations

import secrets
import sqlite3
import string
import time
from typing import TYPE_CHECKING, Final

from nexus_core.errors import SchemaTooNew, StoreFailed
from nexus_sqlite.connections import immediate
from nexus_sqlite.schema import CHANGES_0002, CHANGES_0003, TABLES_0001

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

MIGRATION_SET: Final = "nexus"
APPLICATION_ID: Final = 0x4E787573  # "Nxus": how a file says whose it is

APPLIED: Final = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
HAS_RECORD: Final = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"
IS_EMPTY: Final = "SELECT count(*) = 0 FROM sqlite_master"
MARK_SERVER: Final = "INSERT INTO server (id, created_at) VALUES (?, ?)"


def m0001_tables(db: Database) -> None:
    """Create every table, and give this server its mark."""
    for statement in TABLES_0001:
        db.execute(statement)
    alphabet = string.ascii_lowercase + string.digits
    mark = "".join(secrets.choice(alphabet) for _ in range(12))
    db.execute(MARK_SERVER, [mark, time.time_ns() // 1000])


def m0002_contents(db: Database) -> None:
    """Make room for repositories that are uploaded, for services as they are now, for recipes and a key."""
    for statement in CHANGES_0002:
        db.execute(statement)


def m0003_recovery(db: Database) -> None:
    """Remember that a backup was restored, and let work wait in the order in which it came."""
    for statement in CHANGES_0003:
        db.execute(statement)


STEPS: Final = (m0001_tables, m0002_contents, m0003_recovery)


def known_steps() -> Migrations:
    """All steps this version knows, in order."""
    from sqlite_utils import Migrations  # slow to import, and needed once

    migrations = Migrations(MIGRATION_SET)
    for step in STEPS:
        migrations(name=step.__name__.removeprefix("m"))(step)
    return migrations


def applied_names(connection: sqlite3.Connection) -> list[str]:
    """The steps that this database has had, in order."""
    if not connection.execute(HAS_RECORD).fetchone()[0]:
        return []
    return [name for (name,) in connection.execute(APPLIED, (MIGRATION_SET,)).fetchall()]


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last step applied; 0 for an empty database."""
    return max((int(name.partition("_")[0]) for name in applied_names(connection)), default=0)


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Return if the database is empty or ours to use; only reads.

    Raises `SchemaTooNew` if it had a step that this version does not know, and `StoreFailed` if it
    holds something else than Nexus's tables.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        if application_id == 0 and connection.execute(IS_EMPTY).fetchone()[0]:
            return
        raise StoreFailed(
            "The file is a database of another program",
            why="It has tables, and not Nexus's mark.",
            fix="Name another file in the server's settings.",
        )
    known = {migration.__name__.removeprefix("m") for migration in STEPS}
    unknown = [name for name in applied_names(connection) if name not in known]
    if unknown:
        raise SchemaTooNew(
            "The database was written by a newer Nexus",
            why=f"It has had the schema step {unknown[-1]}; this version knows {len(known)} of them.",
            details={"schema_version": schema_version(connection), "known_version": len(known)},
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date: all missing steps or, after an exception, none.

    Several processes may do this at once: one does the work while the others wait for the
    connection's busy timeout, then find it done. Where nothing is missing nothing is written or
    locked, so that a read-only file passes.
    """
    from sqlite_utils import Database  # slow to import, and needed once

    refuse_foreign(connection)
    migrations = known_steps()
    # No plug-ins: what happens to be installed beside Nexus has no business in its database.
    db = Database(connection, execute_plugins=False)
    if not migrations.pending(db):
        return
    # sqlite-utils takes no lock for deciding what is pending, so the lock must be held before.
    with immediate(connection):
        refuse_foreign(connection)  # another process, perhaps a newer one, may have been first
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrations.apply(db)
