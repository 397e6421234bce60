"""What snapshots read through: connections that cannot write."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
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
        self._idle: deque[Reader] = deque()  # its append and pop are atomic
        self._closed = False

    def lend(self) -> Reader:
        try:
            reader = self._idle.pop()
        except IndexError:
            connection = self._connect()
            reader = Reader(connection, records_over(connection, self._sealing))
        reader.connection.execute("BEGIN")
        return reader

    def take_back(self, reader: Reader) -> None:
        if reader.connection.in_transaction:  # SQLite may have ended it itself after an error
            reader.connection.execute("ROLLBACK")
        if len(self._idle) < _KEPT:
            self._idle.append(reader)
        else:
            reader.connection.close()
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            with suppress(IndexError):  # another thread may have taken the last one in between
                self._idle.pop().connection.close()


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
