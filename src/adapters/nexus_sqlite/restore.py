"""Putting a copy of the database in the place of the one there is."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, StepName
from nexus_core.domain.workspace import Failure
from nexus_core.engine.journal import tell_status
from nexus_core.errors import DatabaseBusy, InstanceMissing, StoreFailed
from nexus_core.ports.store import Records
from nexus_sqlite import key_check, migrations
from nexus_sqlite.connections import beside, connect_writer, immediate
from nexus_sqlite.copies import PATIENCE, Contents, examine, sync
from nexus_sqlite.errors import SQLITE_EXCEPTIONS, primary_code, translated
from nexus_sqlite.moments import to_micros
from nexus_sqlite.records import records_over
from nexus_sqlite.sealing import KEY_BYTES, Sealing

SET_RESTORED: Final = "UPDATE server SET restored_at = ?"
HAS_KEY: Final = "SELECT key_check IS NOT NULL FROM server"
# Ids that were given out after the backup was taken are known to readers of the stream: none is given out again.
SKIP_EVENT_IDS: Final = "UPDATE sqlite_sequence SET seq = seq + 1000000000 WHERE name = 'events'"
BEGIN_EVENT_IDS: Final = "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', 1000000000)"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place, and under which name that which was there is kept; None if nothing was."""

    contents: Contents
    kept: Path | None


def restore(database: Path, backup: Path, *, key: bytes | None, now: datetime) -> Restored:
    """Put a copy of the backup in the database's place, and keep what is there under another name.

    Nobody may have the database open. ``key`` is what the secrets in it are sealed with, None if there
    is none. Raises `StoreFailed`, `SchemaTooNew` or `DatabaseBusy` with everything as it was; a crash at
    any moment leaves either what was there or the backup, whole. A backup with an older schema is
    brought up to date.
    """
    log = beside(backup, "-wal")
    if log.is_file() and log.stat().st_size:
        raise StoreFailed(
            f"{backup} is not all of a database",
            why=f"There are changes in {log.name} beside it.",
            fix="Restore a file that `nexus backup` wrote, or the outcome of `sqlite3 FILE '.backup COPY'`.",
        )
    fresh = beside(database, ".restoring")
    with _written_or_gone(fresh):
        fresh.touch(mode=0o600, exist_ok=False)
        shutil.copyfile(backup, fresh)
        found = _prepare(fresh, key, now)
        sync(fresh)
        kept = _set_aside(database, now)
        # The log of the old file is gone from its place by now: it would be taken for the new one's.
        sync(database.parent)
        fresh.rename(database)
        sync(database.parent)
    return Restored(found, kept)


@contextmanager
def _written_or_gone(fresh: Path) -> Generator[None]:
    """Leave nothing of a half-done copy, neither of this restoration nor of one that was killed."""
    try:
        _discard(fresh)
        yield
    except OSError as exc:
        raise StoreFailed(
            "The backup cannot be restored",
            why=f"{exc.filename or fresh}: {exc.strerror}.",
            fix="Check the files, their permissions and the free space; what was there is still there.",
        ) from exc
    finally:
        with suppress(OSError):
            _discard(fresh)


def _discard(fresh: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        beside(fresh, ending).unlink(missing_ok=True)


def _prepare(copy: Path, key: bytes | None, now: datetime) -> Contents:
    """Verify the copy, and write into it what a server must know that begins with it; what is in it."""
    found = examine(copy)
    with translated(), closing(connect_writer(copy, PATIENCE)) as connection:
        sealing = Sealing(os.urandom(KEY_BYTES) if key is None else key)
        if key is not None:
            key_check.refuse_another_key(connection, sealing)
        # One file from here on, also where the backup was made by other means, and with the mode of a database in use.
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        migrations.migrate(connection)
        if key is None and connection.execute(HAS_KEY).fetchone()[0]:
            raise StoreFailed(
                "The secrets in the backup cannot be read",
                why="There is no `database-key` in the state directory.",
                fix="Put the key file there that belongs to the backup. If it is lost, see docs/reference/database.md; "
                "nothing was changed.",
            )
        with immediate(connection):
            connection.execute(SET_RESTORED, (to_micros(now),))
            if not connection.execute(SKIP_EVENT_IDS).rowcount:
                connection.execute(BEGIN_EVENT_IDS)
            _give_up_creations(records_over(connection, sealing), now)
    return found


def _give_up_creations(records: Records, now: datetime) -> None:
    """Let nothing make a container anew that may have been made, and filled, after the backup was taken."""
    for before in records.workspaces.with_status(frozenset(Status) - {Status.DELETED}):
        if StepName.CREATE_INSTANCE in before.provisioned:
            continue
        after = replace(before, provisioned=before.provisioned | {StepName.CREATE_INSTANCE.value}, updated_at=now)
        under_way = records.operations.unfinished(before.id)
        if under_way is not None and under_way.kind in (OperationKind.CREATE, OperationKind.START):
            records.operations.update(under_way.cancelled(now))
            error = InstanceMissing(
                f"It is not known whether the container of '{before.name}' was finished",
                why="It was being made when the backup was taken that the database was restored from.",
                fix="It was left alone, if it is there: have the administrator look into it "
                "(`lxc list --project nexus`), then delete the workspace and create it anew.",
            )
            failure = Failure(error.code, error.message, StepName.CREATE_INSTANCE.value)
            after = replace(after, status=Status.ERROR, error=failure)
            tell_status(records, after, now, previous=before.status)
        records.workspaces.update(after)


def _set_aside(database: Path, now: datetime) -> Path | None:
    """Give what is there a second name, and leave no log of it in its place; the name, None if nothing is there."""
    present = [beside(database, ending) for ending in ("", "-wal", "-journal")]
    if not any(file.exists() for file in present):
        return None
    if database.exists():
        _fold_log(database)
    kept = _free_name(database, now)
    if database.exists():
        # A second name, not another one: until the backup takes its place, the old database is where it was.
        os.link(database, kept)
    for ending in ("-wal", "-journal"):
        file = beside(database, ending)
        if file.exists() and file.stat().st_size:  # of a database that is damaged or gone
            file.rename(beside(kept, ending))
        file.unlink(missing_ok=True)
    beside(database, "-shm").unlink(missing_ok=True)
    return kept


def _fold_log(database: Path) -> None:
    """Have everything in the one file; one that is damaged stays as it is, with its log.

    Raises `DatabaseBusy` if somebody has it open.
    """
    try:
        with closing(connect_writer(database, PATIENCE)) as connection:
            is_held, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except SQLITE_EXCEPTIONS as exc:
        if primary_code(exc) != sqlite3.SQLITE_BUSY:
            return
        is_held = True
    if is_held or beside(database, "-wal").exists():
        raise DatabaseBusy(
            "The database is open",
            why="Another process has it open, though no server runs on it.",
            fix="End that process (`fuser` on the file names it).",
        )


def _free_name(database: Path, now: datetime) -> Path:
    name = f"{database.name}.before-restore-{now:%Y%m%dT%H%M%SZ}"
    names = (
        database.with_name(name + ending)
        for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    )
    return next(kept for kept in names if not any(beside(kept, ending).exists() for ending in ("", "-wal", "-journal")))
