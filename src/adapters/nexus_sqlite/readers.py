"""What snapshots read through: connections that cannot write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from nexus_core.ports.store import Records
from nexus_sqlite.records import records_over
from nexus_sqlite.sealing import Sealing

_KEPT: Final = 8  # more than the threads that read at once here; beyond, connections come and go


@dataclass(frozen=True, slots=True)
class Reader:
    """A connection and the records seen through it."""

    connection: sqlite3.Connection
    records: Records


class Readers(Protocol):
    """Lends a reader to one snapshot at a time."""

    def lend(self) -> Reader:
        """A reader that nobody else uses until it is taken back, with its moment begun."""
        ...

    def take_back(self, reader: Reader) -> None:
        """End the moment, whatever happened in it."""
        ...

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        ...


class PooledReaders(Readers):
    """Readers of a file, each with a connection of its own; from any thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], sealing: Sealing) -> None:
        self._connect = connect
        self._sealing = sealing
        self._idle: list[Reader] = []
        self._lent = 0
        self._gate = threading.Lock()
        self._closed = False

    def lend(self) -> Reader:
        with self._gate:
            reader = self._idle.pop() if self._idle else self._new()
            reader.connection.execute("BEGIN")
            self._lent += 1
        return reader

    def lend_new(self) -> Reader:
        """A reader that remembers nothing of the file; as `lend` otherwise."""
        with self._gate:
            reader = self._new()
            self._lent += 1
        return reader

    def take_back(self, reader: Reader) -> None:
        with self._gate:
            self._lent -= 1
            if reader.connection.in_transaction:  # SQLite may have ended it itself after an error
                reader.connection.execute("ROLLBACK")
            if self._closed or len(self._idle) >= _KEPT:
                reader.connection.close()
            else:
                self._idle.append(reader)

    @contextmanager
    def halted(self) -> Generator[bool]:
        """Close what is idle and lend nothing meanwhile; whether nothing is lent, and so none is open."""
        with self._gate:
            self._close_idle()
            yield self._lent == 0

    def close(self) -> None:
        with self._gate:
            self._closed = True
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().connection.close()

    def _new(self) -> Reader:
        connection = self._connect()
        return Reader(connection, records_over(connection, self._sealing))


class WriterAsReader(Readers):
    """The writer itself, made to refuse writes: a database in memory has no second connection.

    The caller holds the writer's lock, which is what keeps the moment from passing.
    """

    def __init__(self, writer: Reader) -> None:
        self._writer = writer

    def lend(self) -> Reader:
        self._writer.connection.execute("PRAGMA query_only = ON")
        return self._writer

    def take_back(self, reader: Reader) -> None:
        reader.connection.execute("PRAGMA query_only = OFF")

    def close(self) -> None:
        """Nothing: the writer is closed by its owner."""
