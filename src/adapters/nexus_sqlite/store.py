"""The store: one SQLite file, or one database in memory."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from nexus_core.errors import DatabaseBusy, StoreFailed
from nexus_core.ports.store import Records, Store, StoreStatus
from nexus_sqlite import connections, key_check, migrations
from nexus_sqlite.databases import Database, InMemory, OnDisk, Writer
from nexus_sqlite.errors import SQLITE_EXCEPTIONS, translate, translated
from nexus_sqlite.sealing import KEY_BYTES, Sealing

PATIENCE: Final = 2.0
"""Seconds that opening waits for other processes."""

WAIT: Final = 0.25
"""Seconds that a transaction waits for another process or thread that writes. The event loop waits with it."""

BEAT: Final = "UPDATE server SET heartbeat = heartbeat + 1"


class SqliteStore(Store):
    """Keeps everything in one SQLite database.

    Opened with `open` or `in_memory`. Transactions of several threads wait for each other; snapshots
    of a file wait for nobody. A thread is inside at most one transaction or snapshot: beginning
    another raises `RuntimeError`, since it would not see the first one's writes or moment.

    A file that was moved away, replaced or found damaged takes no transaction until it is as it was;
    what can still be read of it is read.
    """

    def __init__(self, database: Database, patience: float) -> None:
        """Keep records in this database; use `open` or `in_memory` instead."""
        self._database = database
        self._readers = database.readers
        self._patience = patience
        self._writing = threading.Lock()
        self._inside: set[int] = set()
        self._closed = False
        self._server_id = database.writer.server_id

    @classmethod
    def open(cls, path: Path | str, *, key: bytes, patience: float = PATIENCE) -> SqliteStore:
        """Open the file, made with mode 0600 if it is missing, and bring its schema up to date.

        ``key`` is 32 random bytes that belong to this file: without them nobody reads the secrets in
        it. Several processes may open it at once. A file that a newer Nexus wrote (`SchemaTooNew`),
        that is not Nexus's or has another key (`StoreFailed`) is left as it is, byte for byte.
        ``patience`` bounds in seconds how long other processes are waited for.
        """
        sealing = Sealing(key)
        path = Path(path).absolute()  # readers are opened later, perhaps from another working directory
        connections.create_private(path)
        with translated():
            # Looked at through a connection that cannot write, before anything here does.
            with closing(connections.connect_reader(path, patience)) as reader:
                migrations.refuse_foreign(reader)
                key_check.refuse_another_key(reader, sealing)
            writer = connections.connect_writer(path, patience)
            try:
                connections.use_wal(writer, patience)
                migrations.migrate(writer)
                key_check.keep_to_key(writer, sealing)
                wait = min(patience, WAIT)
                return cls(OnDisk(writer, sealing, wait, path), wait)
            except BaseException:
                writer.close()
                raise

    @classmethod
    def in_memory(cls) -> SqliteStore:
        """A new database that is gone with `close`; everything else is as with a file."""
        with translated():
            writer = connections.connect_writer(connections.MEMORY, WAIT)
            migrations.migrate(writer)
            return cls(InMemory(writer, Sealing(os.urandom(KEY_BYTES)), WAIT), WAIT)

    @property
    def server_id(self) -> str:
        return self._server_id

    @property
    def restored_at(self) -> datetime | None:
        return self._writer.restored_at

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Generator[Records]:
        with self._alone(wait=wait), translated():
            self._database.require_whole()
            with self._writer.waiting.immediate(wait=wait):
                yield self._writer.records

    @contextmanager
    def snapshot(self) -> Generator[Records]:
        with self._reading():
            try:
                reader = self._readers.lend()
                try:
                    yield reader.records
                finally:
                    self._readers.take_back(reader)
            except SQLITE_EXCEPTIONS as exc:
                if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
                    raise RuntimeError("A snapshot cannot write: use transaction()") from exc
                raise translate(exc) from exc

    def status(self) -> StoreStatus:
        with self._reading(), translated():
            reader = self._readers.lend()
            try:
                version = migrations.schema_version(reader.connection)
                return StoreStatus(schema_version=version, size_bytes=self._database.size(reader))
            finally:
                self._readers.take_back(reader)

    def check_writable(self) -> None:
        # A committed write: only then has the disk been asked to keep it.
        with self.transaction():
            self._database.require_room()
            self._writer.connection.execute(BEAT)

    def verify(self) -> None:
        with self._alone(), translated():
            self._database.require_files()  # without the log in its place nobody else can read the file
        with self._once():
            damage = self._database.damage()
        with self._alone(), translated():
            self._database.learn(damage)
            self._database.require_whole()

    def close(self) -> None:
        if self._closed:
            return
        with self._alone():
            self._closed = True
            self._readers.close()
            # Last, so that it is this connection that folds the log into the file and removes it.
            self._writer.connection.close()

    @property
    def _writer(self) -> Writer:
        return self._database.writer

    def _reading(self) -> AbstractContextManager[None]:
        """What a snapshot needs: in memory the writer's turn, else nobody's leave."""
        return self._alone() if self._database.reads_through_writer else self._once()

    @contextmanager
    def _once(self) -> Generator[None]:
        """Refuse a thread that is inside already, and a store that is closed."""
        thread = threading.get_ident()
        if thread in self._inside:
            raise RuntimeError("This thread is inside a transaction or snapshot already; they do not nest")
        if self._closed:
            raise StoreFailed("The database is closed", fix="Open it again.")
        self._inside.add(thread)
        try:
            yield
        finally:
            self._inside.discard(thread)

    @contextmanager
    def _alone(self, *, wait: bool = True) -> Generator[None]:
        """Let one thread at a time have the writer."""
        with self._once():
            if not self._writing.acquire(timeout=self._patience if wait else 0):
                raise DatabaseBusy("The database cannot be used for now", why="Another thread is writing to it.")
            try:
                yield
            finally:
                self._writing.release()
