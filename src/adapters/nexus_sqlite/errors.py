"""The one place where sqlite3's exceptions become Nexus's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from nexus_core.errors import DatabaseBusy, NexusError, StoreFailed

SQLITE_EXCEPTIONS: Final = (sqlite3.Error, sqlite3.Warning)
"""Everything sqlite3 raises; `sqlite3.Warning` stands beside `sqlite3.Error`, not under it."""

_MAY_PASS: Final = {
    sqlite3.SQLITE_BUSY: "Another process is writing to it.",
    sqlite3.SQLITE_LOCKED: "Another statement is using the table.",
    sqlite3.SQLITE_PROTOCOL: "Too many processes opened it at once.",
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_READONLY: "It can only be read: the file, its folder or the disk is read-only.",
    sqlite3.SQLITE_IOERR: "The disk reported an error.",
    sqlite3.SQLITE_NOMEM: "The machine has no memory left.",
}
_WILL_STAY: Final = {
    sqlite3.SQLITE_CORRUPT: "The file is damaged.",
    sqlite3.SQLITE_NOTADB: "The file is not a database.",
    sqlite3.SQLITE_CANTOPEN: "The file, or a file beside it, cannot be opened.",
    sqlite3.SQLITE_CONSTRAINT: "A rule of the schema was about to be broken.",
}


def translate(exc: BaseException) -> NexusError:
    """Nexus's word for an exception of sqlite3.

    `DatabaseBusy` for what may pass without anybody changing the data; `StoreFailed` for the rest,
    also where sqlite3 gives no code. Neither repeats sqlite3's own text, which can hold values:
    that stays in the exception this one is raised from.
    """
    code = getattr(exc, "sqlite_errorcode", None)
    primary = -1 if code is None else code & 0xFF  # the higher bits only narrow it down
    name = getattr(exc, "sqlite_errorname", type(exc).__name__)
    if primary in _MAY_PASS:
        return DatabaseBusy("The database cannot be used for now", why=_MAY_PASS[primary], details={"sqlite": name})
    return StoreFailed("The database failed", why=_WILL_STAY.get(primary, ""), details={"sqlite": name})


@contextmanager
def translated() -> Generator[None]:
    """Let nothing of sqlite3 out of the block."""
    try:
        yield
    except SQLITE_EXCEPTIONS as exc:
        raise translate(exc) from exc


def is_unique_violation(exc: sqlite3.IntegrityError, *columns: str) -> bool:
    """Whether a unique index on exactly these ``table.column`` names refused the row."""
    return (
        exc.sqlite_errorname in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")
        # The only place where SQLite tells which index it was; the form is fixed since 2013.
        and str(exc) == f"UNIQUE constraint failed: {', '.join(columns)}"
    )
