"""Taking a copy of the database while it is in use."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from nexus_core.errors import StoreFailed
from nexus_sqlite.connections import beside, connect_reader
from nexus_sqlite.copies import PATIENCE, Contents, contents, examine, sync
from nexus_sqlite.errors import translated

_OF_THE_DATABASE: Final = ("", "-wal", "-shm", "-journal")


def back_up(database: Path, target: Path) -> Contents:
    """Copy the database as it is at one moment into one file of mode 0600; what is in it.

    Nobody waits for it, and none of it is written to. The copy is verified before it gets its name; a
    file that has the name is replaced in one step. After an exception everything is as it was. Raises
    `StoreFailed`, `SchemaTooNew` or `DatabaseBusy`.
    """
    if not database.is_file():
        raise StoreFailed(f"There is no database {database}", fix="Name the server's state directory with --state-dir.")
    if target.resolve() in {beside(database, ending).resolve() for ending in _OF_THE_DATABASE}:
        raise StoreFailed(f"{target} is the database itself", fix="Name another file.")
    fresh: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(descriptor)
        fresh = Path(name)
        with translated():
            copied = _copy(database, fresh)
        sync(fresh)
        if examine(fresh) != copied:
            raise StoreFailed("The copy does not hold what the database held", fix="Try again.")
        fresh.replace(target)
        fresh = None
        sync(target.parent)
    except OSError as exc:
        raise StoreFailed(
            f"The backup cannot be written to {target}",
            why=f"{exc.strerror}.",
            fix="Check the folder, its permissions and the free space.",
        ) from exc
    finally:
        if fresh is not None:
            with suppress(OSError):
                fresh.unlink()
    return copied


def _copy(database: Path, fresh: Path) -> Contents:
    with closing(connect_reader(database, PATIENCE)) as source, closing(sqlite3.connect(fresh)) as copy:
        source.execute("BEGIN")  # what is counted is what is copied
        counted = contents(source)
        # It is synced when it is whole; until then a crash leaves a file that has no name yet.
        copy.execute("PRAGMA synchronous = OFF")
        copy.execute("PRAGMA journal_mode = OFF")
        source.backup(copy)
        # One file: the database's own mode would want a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        return counted
