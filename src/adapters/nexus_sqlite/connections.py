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
from nexus_sqlite.errors import primary_code

MEMORY: Final = ":memory:"


def create_private(path: Path) -> None:
    """Make the file, empty and for its owner alone, if it is not there.

    SQLite would make it with the umask's permissions, and gives the files beside it (-wal, -shm)
    the permissions of the file. One that exists is left as it is. Where the file is gone and its log
    is not, `StoreFailed` is raised: a new file in its place would be the end of what the log holds.
    """
    if not path.exists() and _has_content(beside(path, "-wal")):
        raise StoreFailed(
            "The database file is gone",
            why=f"{path.name} is not there, but its log {path.name}-wal is, with changes in it.",
            fix="Put the file back beside its log, or a backup in its place with `nexus restore FILE`.",
        )
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
            if primary_code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreFailed(
            "The database cannot use a write-ahead log where it is",
            why=f"SQLite stays in the journal mode {mode!r}.",
            fix="Keep the file on a local disk that the server's user may write.",
        )


class Waiting:
    """How long the writer waits for other processes: a moment, and after one in vain not at all.

    The event loop waits with the writer. So once a transaction has waited in vain the next ones only
    try, until one succeeds: a lock that is held for long costs one wait, not one each.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._in_vain = False
        self._set_to = -1.0
        self._set(seconds)

    @contextmanager
    def immediate(self, *, wait: bool) -> Generator[None]:
        """A transaction as `immediate` makes it; without ``wait`` it only tries."""
        seconds = self._seconds if wait and not self._in_vain else 0.0
        self._set(seconds)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            self._in_vain = self._in_vain or (seconds > 0 and primary_code(exc) == sqlite3.SQLITE_BUSY)
            raise
        self._in_vain = False
        with _to_the_end(self._connection):
            yield

    def _set(self, seconds: float) -> None:
        if seconds != self._set_to:
            self._connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            self._set_to = seconds


@contextmanager
def immediate(connection: sqlite3.Connection) -> Generator[None]:
    """A transaction: all of the block, or after an exception none of it.

    IMMEDIATE takes the write lock before the first read: a transaction that reads first and is then
    overtaken by another process could not be waited for, only failed.
    """
    connection.execute("BEGIN IMMEDIATE")
    with _to_the_end(connection):
        yield


@contextmanager
def _to_the_end(connection: sqlite3.Connection) -> Generator[None]:
    """Commit what was begun, or after an exception undo it."""
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
        size += beside(path, "-wal").stat().st_size
    return size


def beside(path: Path, ending: str) -> Path:
    """The file that SQLite keeps beside the database under this ending."""
    return path.with_name(path.name + ending)


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _connect(database: str, patience: float, *, uri: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        database,
        timeout=patience,
        isolation_level=None,  # no transaction begins by itself
        check_same_thread=False,  # the store sees to it that one thread at a time uses a connection
        cached_statements=512,  # every statement there is stays compiled
        uri=uri,
    )
