"""Whether the database is there, closed to others, whole, of this version, and has room."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from nexus_core.domain.finding import Area, Finding, said
from nexus_core.errors import DatabaseBusy, NexusError
from nexus_core.ports.examiner import Examiner
from nexus_sqlite import key_check, migrations
from nexus_sqlite.as_found import PATIENCE
from nexus_sqlite.connections import beside, connect_reader, size_on_disk
from nexus_sqlite.copies import contents
from nexus_sqlite.errors import FROM_A_BACKUP, SQLITE_EXCEPTIONS, translate, translated
from nexus_sqlite.sealing import Sealing

_AREA: Final = Area("database")
_LONGEST: Final = 60.0  # seconds for looking all of it through
_STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock
_LITTLE: Final = 1024**3
_TOO_LITTLE: Final = 64 * 1024**2
_AS_ROOT: Final = "Run `nexus doctor` as root, or as the server's user."
_NO_KEY: Final = "Put back the `database-key` that belongs to this database; the secrets in it are lost without it."


class SqliteExaminer(Examiner):
    """Looks at the file of a `SqliteStore` through a connection that cannot write; closes files to others.

    ``key`` answers the database's key, None where there is none, and may raise a `NexusError`;
    ``private`` are further files that are for the server alone.
    """

    def __init__(self, database: Path, *, key: Callable[[], bytes | None], private: Sequence[Path] = ()) -> None:
        self._database = database
        self._key = key
        self._private = private

    async def examine(self) -> Sequence[Finding]:
        try:
            return await asyncio.to_thread(self._examine)
        except PermissionError:
            return [_AREA.warning("file", f"{self._database.parent} could not be looked into", _AS_ROOT)]

    async def mend(self, finding: Finding) -> Finding:
        try:
            await asyncio.to_thread(_close, Path(finding.subject))
        except OSError as exc:
            return finding.not_mended(f"could not be closed to others: {exc.strerror}")
        return finding.mended("is for its owner alone now")

    def _examine(self) -> list[Finding]:
        name = self._database.name
        if not _exists(self._database):
            left = [file.name for file in (beside(self._database, "-wal"), *self._private) if _exists(file)]
            if not left:
                return [_AREA.ok("file", "there is none yet: the first `nexus serve` makes it")]
            says = f"{name} is gone, and {', '.join(left)} are there"
            fix = "Put the file back, or a backup in its place with `nexus restore FILE`."
            return [_AREA.failure("file", says, fix), self._room()]
        return [*self._access(), *self._content(), self._room()]

    def _access(self) -> Iterator[Finding]:
        folder = self._database.parent
        files = [
            folder,
            self._database,
            *(beside(self._database, ending) for ending in ("-wal", "-shm")),
            *self._private,
        ]
        present = [file for file in files if _exists(file)]
        open_to_others = [file for file in present if _is_open(file)]
        owner = folder.stat().st_uid
        for file in open_to_others:
            may = os.geteuid() in (0, file.stat().st_uid)
            fix = f"`chmod {'700' if file.is_dir() else '600'} {file}`"
            yield _AREA.failure(str(file), "can be read or entered by others", f"{fix}.", mend="close" if may else None)
        for file in present:
            if file.stat().st_uid != owner:
                says = f"belongs to another user (id {file.stat().st_uid}) than its folder"
                fix = f"`chown --reference={folder} {file}`, if the server runs as the folder's owner."
                yield _AREA.warning(str(file), says, fix)
        if not open_to_others:
            yield _AREA.ok("access", f"{folder} and what is in it are for their owner alone")

    def _content(self) -> Iterator[Finding]:
        try:
            with closing(connect_reader(self._database, PATIENCE)) as connection:
                yield self._schema(connection)
                yield self._key_fits(connection)
                yield _whole(connection)
            megabytes = size_on_disk(self._database) / 1024**2
            yield _AREA.ok("size", f"{megabytes:.1f} MiB with its log")
        except SQLITE_EXCEPTIONS as exc:
            if not os.access(self._database, os.R_OK):
                yield _AREA.warning("content", "could not be looked at", _AS_ROOT)
            else:
                yield _failed(translate(exc))
        except NexusError as error:
            yield _failed(error)

    def _schema(self, connection: sqlite3.Connection) -> Finding:
        found, known = contents(connection), len(migrations.STEPS)
        if found.schema_version < known:
            says = f"is version {found.schema_version}, and this program's is {known}"
            return _AREA.warning("schema", says, "Start the server: it brings the database up to date.")
        return _AREA.ok("schema", f"version {found.schema_version}; server {found.server_id}")

    def _key_fits(self, connection: sqlite3.Connection) -> Finding:
        try:
            key = self._key()
            if key is not None:
                with translated():
                    key_check.refuse_another_key(connection, Sealing(key))
        except NexusError as error:
            return _AREA.failure("key", said(error), error.fix)
        if key is None:
            return _AREA.failure("key", "there is none beside the database", _NO_KEY)
        return _AREA.ok("key", "opens the secrets in it")

    def _room(self) -> Finding:
        free = shutil.disk_usage(self._database.parent).free
        says = f"{free / 1024**3:.1f} GiB are free on its disk"
        fix = f"Make room on the disk that holds {self._database.parent}."
        if free < _TOO_LITTLE:
            return _AREA.failure("disk", says, fix)
        return _AREA.warning("disk", says, fix) if free < _LITTLE else _AREA.ok("disk", says)


def _whole(connection: sqlite3.Connection) -> Finding:
    """Whether all of the file is as SQLite wrote it, and all that is referred to is there."""
    until = time.monotonic() + _LONGEST
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        (complaint,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        fix = "`nexus backup FILE` looks all of it through, however long that takes."
        return _AREA.warning("integrity", f"was not looked through within {_LONGEST:.0f} seconds", fix)
    if complaint != "ok":
        return _AREA.failure("integrity", f"the file is damaged: {complaint.splitlines()[-1]}", FROM_A_BACKUP)
    if dangling is not None:
        says = f"row {dangling[1]} of {dangling[0]} belongs to a row of {dangling[2]} that is not there"
        return _AREA.failure("integrity", says, FROM_A_BACKUP)
    return _AREA.ok("integrity", "whole")


def _failed(error: NexusError) -> Finding:
    if isinstance(error, DatabaseBusy):
        return _AREA.warning("content", said(error), error.fix)
    return _AREA.failure("content", said(error), error.fix)


def _exists(file: Path) -> bool:
    """Whether it is there; raises `PermissionError` where nobody but others may know."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_open(file: Path) -> bool:
    """Whether others than its owner may do anything with it; of a link, nothing is said."""
    mode = file.lstat().st_mode
    return not stat.S_ISLNK(mode) and bool(mode & 0o077)


def _close(file: Path) -> None:
    """Let nobody but its owner in."""
    if _is_open(file):
        file.chmod(0o700 if file.is_dir() else 0o600)
