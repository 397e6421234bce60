"""A database that is open: its one writer, its readers, and whether what is written to it is kept."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from nexus_core.errors import DatabaseBusy, NexusError, StoreFailed
from nexus_sqlite import connections
from nexus_sqlite.connections import Waiting
from nexus_sqlite.errors import FROM_A_BACKUP, SQLITE_EXCEPTIONS, full_disk, primary_code, translate
from nexus_sqlite.files import OpenedFiles
from nexus_sqlite.moments import from_micros_or_null
from nexus_sqlite.readers import PooledReaders, Reader, Readers, WriterAsReader
from nexus_sqlite.records import records_over
from nexus_sqlite.sealing import Sealing

SERVER: Final = "SELECT id, restored_at FROM server"
SIZE_IN_MEMORY: Final = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"

_ROOM: Final = 256 * 1024  # bytes, more than any one transaction writes

# What a look through the file may meet that says something of the file, not of the moment.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})


@dataclass(frozen=True, slots=True)
class Writer(Reader):
    """The one connection that writes, what is seen through it, and whose database it is."""

    waiting: Waiting
    server_id: str
    restored_at: datetime | None

    @classmethod
    def over(cls, connection: sqlite3.Connection, sealing: Sealing, patience: float) -> Writer:
        """The writer with this connection, which waits so many seconds for other processes."""
        server_id, restored_at = connection.execute(SERVER).fetchone()
        return cls(
            connection=connection,
            records=records_over(connection, sealing),
            waiting=Waiting(connection, patience),
            server_id=server_id,
            restored_at=from_micros_or_null(restored_at),
        )


class Database(Protocol):
    """What a store keeps its records in. Whoever calls has the writer for themselves, but for `damage`."""

    @property
    def writer(self) -> Writer: ...

    @property
    def readers(self) -> Readers: ...

    @property
    def reads_through_writer(self) -> bool:
        """Whether to read one must have the writer for oneself."""
        ...

    def require_files(self) -> None:
        """Return if its files are those that were opened; raises `StoreFailed`, or `DatabaseBusy` for what may pass."""
        ...

    def require_whole(self) -> None:
        """Return if what is written now is kept; raises as `require_files`, and for damage that is known."""
        ...

    def require_room(self) -> None:
        """Return if there is room for larger changes than the smallest; raises `DatabaseBusy`."""
        ...

    def damage(self) -> NexusError | None:
        """What is found when all of it is looked through; from any thread, and takes its time."""
        ...

    def learn(self, damage: NexusError | None) -> None:
        """Take note of what was found: damage ends the writing, and where there is none any more all begins anew."""
        ...

    def size(self, reader: Reader) -> int:
        """Its bytes."""
        ...


class InMemory:
    """A database without a file: nothing beneath it can be lost or damaged."""

    def __init__(self, writer: sqlite3.Connection, sealing: Sealing, patience: float) -> None:
        self.writer = Writer.over(writer, sealing, patience)
        self.readers = WriterAsReader(self.writer)
        self.reads_through_writer = True

    def require_files(self) -> None:
        pass

    def require_whole(self) -> None:
        pass

    def require_room(self) -> None:
        pass

    def damage(self) -> NexusError | None:
        return None

    def learn(self, damage: NexusError | None) -> None:
        pass

    def size(self, reader: Reader) -> int:
        size: int
        (size,) = reader.connection.execute(SIZE_IN_MEMORY).fetchone()
        return size


class OnDisk:
    """A database in a file that other hands can reach too."""

    def __init__(self, writer: sqlite3.Connection, sealing: Sealing, patience: float, path: Path) -> None:
        self._sealing = sealing
        self._patience = patience
        self._path = path
        self._damage: NexusError | None = None
        self.readers = PooledReaders(self._connect_reader, sealing)
        self.reads_through_writer = False
        self._use(writer)

    def _use(self, writer: sqlite3.Connection) -> None:
        self.writer = Writer.over(writer, self._sealing, self._patience)
        # The writer has read by now, so that everything beside the file is there too.
        self._files = OpenedFiles(self._path)
        self._is_open = True

    def require_files(self) -> None:
        self._files.require_database()
        if not (self._is_open and self._files.log_is_there()):
            self._open_anew()

    def require_whole(self) -> None:
        if (known := self._damage) is not None:
            raise type(known)(known.what, why=known.why, fix=known.fix, details=known.details)
        self.require_files()

    def require_room(self) -> None:
        # The log has room of its own to write over, which a small change fits into on a disk that is full.
        disk = os.statvfs(self._path.parent)
        free = disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)
        if disk.f_blocks and free < _ROOM:
            raise full_disk()

    def damage(self) -> NexusError | None:
        try:
            # A connection that is new: what others remember of the file hides what became of it.
            reader = self.readers.lend_new()
            try:
                (said,) = reader.connection.execute("PRAGMA quick_check(1)").fetchone()
            finally:
                self.readers.take_back(reader)
        except SQLITE_EXCEPTIONS as exc:
            if primary_code(exc) in _DAMAGE:
                return translate(exc)
            raise translate(exc) from exc
        if said == "ok":
            return None
        return StoreFailed("The database failed", why="The file is damaged.", fix=FROM_A_BACKUP)

    def learn(self, damage: NexusError | None) -> None:
        mended, self._damage = self._damage is not None and damage is None, damage
        if mended:
            self._open_anew()

    def size(self, reader: Reader) -> int:
        return connections.size_on_disk(self._path)

    def _open_anew(self) -> None:
        """Fold the log into the file, and forget all that connections remember of either.

        The log that is open is folded in also where its file was deleted: nothing of it is lost.
        """
        busy = DatabaseBusy("The database cannot be used for now", why="It is being opened anew.", fix="Try again.")
        with self.readers.halted() as alone:
            if not alone:
                raise busy
            if self._is_open:
                if self.writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise busy
                self._is_open = False
                self.writer.connection.close()
            writer = connections.connect_writer(self._path, self._patience)
            try:
                connections.use_wal(writer, self._patience)
                self._use(writer)
            except BaseException:
                writer.close()
                raise

    def _connect_reader(self) -> sqlite3.Connection:
        self._files.require_database()
        return connections.connect_reader(self._path, self._patience)
