"""Opening the file: one connection that writes, and any number that only read.

There is one writer by design: SQLite before 3.51.3 can damage a WAL that two connections write or
checkpoint at the same moment.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from nexus_core.errors import StoreFailed

MEMORY: Final = ":memory:"


def create_private(path: Path) -> None:
    """Make the file, empty and for its owner alone, if it is not there.

    SQLite would make it with the umask's permissions, and gives the files beside it (-wal, -shm)
    the permissions of the file. One that exists is left as it is.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # Only looked at: to open and close it would drop the locks that this process has on it.
        if not path.is_file():
            raise StoreFailed(f"{path.name} is not a file", fix="Name a file in the server's settings.") from None
    except OSError as exc:
        raise StoreFailed(
            "The database file cannot be made",
            why=f"{exc.strerror}.",
            fix="Create its folder, and let the server's user write there.",
        ) from exc


def connect_writer(database: Path | str, patience: float) -> sqlite3.Connection:
    """The connection that writes; transactions are begun and ended by hand."""
    connection = _connect(str(database), patience, uri=False)
    connection.execute("PRAGMA foreign_keys = ON")
    # FULL, not NORMAL: what was answered with success must survive a power loss, not only a crash.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def connect_reader(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that cannot write, twice over: the file is opened so, and statements are refused."""
    connection = _connect(f"file:{quote(str(path))}?mode=ro", patience, uri=True)
    connection.execute("PRAGMA query_only = ON")
    return connection


def use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Let readers and the writer work side by side.

    The switch is kept in the file. SQLite does not wait for other processes here, however long its
    busy timeout is, so several that start at once are made to take turns.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreFailed(
            "The database cannot use a write-ahead log where it is",
            why=f"SQLite stays in the journal mode {mode!r}.",
            fix="Keep the file on a local disk that the server's user may write.",
        )


@contextmanager
def immediate(connection: sqlite3.Connection) -> Generator[None]:
    """A transaction: all of the block, or after an exception none of it.

    IMMEDIATE takes the write lock before the first read: a transaction that reads first and is then
    overtaken by another process could not be waited for, only failed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have ended it itself, on a full disk for one
            connection.execute("ROLLBACK")
        raise


def size_on_disk(path: Path) -> int:
    """Bytes of the file and of what is still in its write-ahead log."""
    size = path.stat().st_size
    with suppress(FileNotFoundError):
        size += path.with_name(path.name + "-wal").stat().st_size
    return size


def _connect(database: str, patience: float, *, uri: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        database,
        timeout=patience,
        isolation_level=None,  # no transaction begins by itself
        check_same_thread=False,  # the store sees to it that one thread at a time uses a connection
        cached_statements=512,  # every statement there is stays compiled
        uri=uri,
    )
