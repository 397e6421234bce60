"""The one place where sqlite3's exceptions become Nexus's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from nexus_core.errors import DatabaseBusy, NexusError, StoreFailed

SQLITE_EXCEPTIONS: Final = (sqlite3.Error, sqlite3.Warning)
"""Everything sqlite3 raises; `sqlite3.Warning` stands beside `sqlite3.Error`, not under it."""

FROM_A_BACKUP: Final = "Stop the server, put a backup in its place with `nexus restore FILE`, and start it again."
_FOR_NOW: Final = "The database cannot be used for now"
_GOES_ON: Final = "What waits for it goes on by itself."

# Why, and what to do about it.
_MAY_PASS: Final = {
    sqlite3.SQLITE_BUSY: (
        "Another process is writing to it.",
        f"End that process (`fuser` on the file names it), or wait for it. {_GOES_ON}",
    ),
    sqlite3.SQLITE_LOCKED: ("Another statement is using the table.", "Try again."),
    sqlite3.SQLITE_PROTOCOL: ("Too many processes opened it at once.", "Try again."),
    sqlite3.SQLITE_FULL: ("The disk is full.", f"Make room on the disk that holds it. {_GOES_ON}"),
    sqlite3.SQLITE_READONLY: (
        "It can only be read: the file, its folder or the disk is read-only.",
        f"Let the server's user write there again. {_GOES_ON}",
    ),
    sqlite3.SQLITE_IOERR: ("The disk reported an error.", f"See what the kernel says of it (`dmesg`). {_GOES_ON}"),
    sqlite3.SQLITE_NOMEM: ("The machine has no memory left.", f"Make some free. {_GOES_ON}"),
}
_WILL_STAY: Final = {
    sqlite3.SQLITE_CORRUPT: ("The file is damaged.", FROM_A_BACKUP),
    sqlite3.SQLITE_NOTADB: ("The file is not a database.", FROM_A_BACKUP),
    sqlite3.SQLITE_CANTOPEN: (
        "The file, or a file beside it, cannot be opened.",
        "Check that they are there and that the server's user may read and write them.",
    ),
    sqlite3.SQLITE_CONSTRAINT: ("A rule of the schema was about to be broken.", ""),
}


def translate(exc: BaseException) -> NexusError:
    """Nexus's word for an exception of sqlite3.

    `DatabaseBusy` for what may pass without anybody changing the data; `StoreFailed` for the rest,
    also where sqlite3 gives no code. Neither repeats sqlite3's own text, which can hold values:
    that stays in the exception this one is raised from.
    """
    code = primary_code(exc)
    name = getattr(exc, "sqlite_errorname", type(exc).__name__)
    if code in _MAY_PASS:
        why, fix = _MAY_PASS[code]
        return DatabaseBusy(_FOR_NOW, why=why, fix=fix, details={"sqlite": name})
    why, fix = _WILL_STAY.get(code, ("", ""))
    return StoreFailed("The database failed", why=why, fix=fix, details={"sqlite": name})


def full_disk() -> DatabaseBusy:
    """What is said of a disk that is found to be full before SQLite meets it."""
    why, fix = _MAY_PASS[sqlite3.SQLITE_FULL]
    return DatabaseBusy(_FOR_NOW, why=why, fix=fix, details={"sqlite": "SQLITE_FULL"})


def primary_code(exc: BaseException) -> int:
    """SQLite's code without the bits that narrow it down; -1 where there is none."""
    code = getattr(exc, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


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
