"""`nexus backup` and `nexus restore` on real files: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.samples import deleted, event, finished, operation, recipe, service, user, workspace
from contracts.store_contract import fill
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, OperationStatus, Step, StepName, StepStatus
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import DatabaseBusy, NexusError, SchemaTooNew, StoreFailed
from nexus_sqlite import SqliteStore, backup, connections, migrations, restore
from nexus_sqlite.copies import Contents

KEY = bytes(range(32))
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
ASIDE = "nexus.db.before-restore-20260301T120030Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state directory."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "nexus.db"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, ready(1), ready(2), deleted(3))
        with store.transaction() as records:
            records.recipes.set(workspace(1).id, recipe())
            records.services.replace(workspace(1).id, [service()])
            records.events.add(event())
        yield store


def ready(number: int) -> Workspace:
    """A workspace with its container."""
    return workspace(number, status=Status.RUNNING, provisioned=frozenset({"create_instance"}))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def known(path: Path) -> set[str]:
    """The workspaces in a database that nobody uses."""
    with closing(SqliteStore.open(path, key=KEY)) as store, store.snapshot() as records:
        return {one.id for one in records.workspaces.with_status(set(Status))}


def put_back(path: Path, copy: Path, key: bytes | None = KEY) -> restore.Restored:
    return restore.restore(path, copy, key=key, now=NOW)


# Taking one


def test_a_backup_is_one_file_for_its_owner_with_everything_in_it(store: SqliteStore, path: Path, copy: Path) -> None:
    held = backup.back_up(path, copy)
    assert (held.server_id, held.users, held.workspaces) == (store.server_id, 2, 2)
    assert held.schema_version == len(migrations.STEPS)
    assert names(copy.parent) == ["backup.db", "state"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert names(path.parent) == ["nexus.db", "nexus.db-shm", "nexus.db-wal"]
    store.check_writable()
    with closing(SqliteStore.open(copy, key=KEY)) as again, again.snapshot() as records:
        assert records.recipes.get(workspace(1).id) == recipe()
        assert records.users.get(user().id) == user()
        assert len(records.events.after(0)) == 1


def test_a_backup_of_a_server_that_was_killed_has_what_is_in_its_log(
    store: SqliteStore, path: Path, copy: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(connections.beside(path, ending), connections.beside(killed / "nexus.db", ending))
    assert (killed / "nexus.db-wal").stat().st_size > 0
    assert backup.back_up(killed / "nexus.db", copy).workspaces == 2
    assert known(killed / "nexus.db") == known(copy)


def test_a_backup_during_a_storm_of_writes_is_one_moment_and_holds_nobody_up(
    store: SqliteStore, path: Path, copy: Path
) -> None:
    """Each transaction adds two workspaces: an odd number would be half of one."""
    written = [10]
    stop = threading.Event()
    failures: list[NexusError] = []

    def write() -> None:
        while not stop.is_set():
            number = written[0]
            try:
                with store.transaction() as records:
                    records.workspaces.add(workspace(number))
                    records.workspaces.add(workspace(number + 1))
            except NexusError as error:
                failures.append(error)
                return
            written[0] = number + 2

    thread = threading.Thread(target=write)
    thread.start()
    try:
        counts = [backup.back_up(path, copy).workspaces for _ in range(8)]
    finally:
        stop.set()
        thread.join(30)
    assert failures == []
    assert [count % 2 for count in counts] == [0] * 8
    assert counts == sorted(counts)
    assert len(known(copy)) == counts[-1] + 1  # and the one that is deleted
    assert written[0] > 10


@pytest.mark.parametrize("fault", ["fsync", "replace", "examine", "other"])
def test_a_backup_that_fails_leaves_the_one_there_was(
    store: SqliteStore, path: Path, copy: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.write_bytes(b"the one before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def another(_: Path) -> Contents:
        return Contents("another", 3, ())

    if fault == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif fault == "replace":
        monkeypatch.setattr(Path, "replace", full)
    elif fault == "examine":
        monkeypatch.setattr(backup, "examine", another)
    else:
        damaged = path.read_bytes()
        store._writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 8192 + damaged[16384:])
    with pytest.raises(StoreFailed):
        backup.back_up(path, copy)
    monkeypatch.undo()
    assert copy.read_bytes() == b"the one before"
    assert names(copy.parent) == ["backup.db", "state"]


def test_what_cannot_be_backed_up_is_told(tmp_path: Path, copy: Path, store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreFailed, match="There is no database"):
        backup.back_up(tmp_path / "nothing", copy)
    for name in ("nexus.db", "nexus.db-wal"):
        with pytest.raises(StoreFailed, match="is the database itself"):
            backup.back_up(path, path.with_name(name))
    with pytest.raises(StoreFailed, match="No such file"):
        backup.back_up(path, tmp_path / "missing" / "backup.db")
    for content, why in ((b"", "empty"), (b"Dear diary\n" * 1000, "not a database")):
        other = tmp_path / "other.db"
        other.write_bytes(content)
        with pytest.raises(StoreFailed, match=why):
            backup.back_up(other, copy)
    assert not copy.exists()


# Putting one back


def test_a_backup_takes_the_place_and_what_was_there_is_kept(store: SqliteStore, path: Path, copy: Path) -> None:
    backup.back_up(path, copy)
    before = copy.read_bytes()
    with store.transaction() as records:
        records.workspaces.add(workspace(4))
    mark = store.server_id
    store.close()
    done = put_back(path, copy)
    assert done.kept == path.with_name(ASIDE)
    assert (done.contents.server_id, done.contents.workspaces) == (mark, 2)
    assert names(path.parent) == ["nexus.db", ASIDE]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert copy.read_bytes() == before
    assert known(path.with_name(ASIDE)) - known(path) == {workspace(4).id}
    with closing(SqliteStore.open(path, key=KEY)) as again:
        assert (again.server_id, again.restored_at) == (mark, NOW)
        with again.snapshot() as records:
            assert records.recipes.get(workspace(1).id) == recipe()


def test_no_name_of_one_that_is_kept_is_used_twice(store: SqliteStore, path: Path, copy: Path) -> None:
    backup.back_up(path, copy)
    store.close()
    kept = [put_back(path, copy).kept for _ in range(3)]
    assert kept == [path.with_name(ASIDE + ending) for ending in ("", "-2", "-3")]
    assert len(names(path.parent)) == 4


def test_the_log_of_a_server_that_was_killed_is_kept_with_its_database(
    store: SqliteStore, path: Path, copy: Path, tmp_path: Path
) -> None:
    """Left in its place, it would be taken for the log of the backup."""
    backup.back_up(path, copy)
    with store.transaction() as records:
        records.workspaces.add(workspace(4))
    killed = tmp_path / "killed"
    killed.mkdir()
    for ending in ("", "-wal", "-shm"):
        shutil.copy(connections.beside(path, ending), connections.beside(killed / "nexus.db", ending))
    put_back(killed / "nexus.db", copy)
    assert names(killed) == ["nexus.db", ASIDE]
    assert known(killed / ASIDE) - known(killed / "nexus.db") == {workspace(4).id}


@pytest.mark.parametrize("what", ["damaged", "no database", "missing", "nothing"])
def test_a_backup_takes_the_place_of_what_is_of_no_use(store: SqliteStore, path: Path, copy: Path, what: str) -> None:
    backup.back_up(path, copy)
    log = connections.beside(path, "-wal").read_bytes()
    store.close()
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40960)
    elif what == "no database":
        path.write_bytes(b"\xff" * 9000)
        connections.beside(path, "-wal").write_bytes(b"no log either")
        connections.beside(path, "-shm").write_bytes(b"nor this")
    else:
        path.unlink()
        if what == "missing":
            connections.beside(path, "-wal").write_bytes(log)
    kept = {
        "damaged": [ASIDE],
        "no database": [ASIDE, f"{ASIDE}-wal"],
        "missing": [f"{ASIDE}-wal"],
        "nothing": [],
    }[what]
    done = put_back(path, copy)
    assert done.kept == (path.with_name(ASIDE) if kept else None)
    assert names(path.parent) == ["nexus.db", *kept]
    assert len(known(path)) == 3


def test_a_database_that_somebody_has_open_stays(store: SqliteStore, path: Path, copy: Path) -> None:
    backup.back_up(path, copy)
    with pytest.raises(DatabaseBusy, match="open"):
        put_back(path, copy)
    assert names(path.parent) == ["nexus.db", "nexus.db-shm", "nexus.db-wal"]
    with store.transaction(), pytest.raises(DatabaseBusy, match="open"):  # and that writes
        put_back(path, copy)
    store.check_writable()


def test_a_database_that_somebody_keeps_all_others_from_stays(
    store: SqliteStore, path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "PATIENCE", 0.05)
    backup.back_up(path, copy)
    store.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("SELECT * FROM server").fetchall()
        before = path.read_bytes()
        with pytest.raises(DatabaseBusy, match="open"):
            put_back(path, copy)
        assert path.read_bytes() == before
    put_back(path, copy)


def test_a_backup_with_an_older_schema_is_brought_up_to_date(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", migrations.STEPS[:1])
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            migrations.migrate(connection)
            (mark,) = connection.execute("SELECT id FROM server").fetchone()
    done = put_back(path, copy, key=None)  # at that time there was no key
    assert (done.contents.schema_version, done.contents.server_id, done.kept) == (1, mark, None)
    with closing(SqliteStore.open(path, key=KEY)) as store:
        assert (store.server_id, store.restored_at) == (mark, NOW)


def a_newer_one(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('nexus', '9999_later', 'then')"
        )


def with_a_reference_to_nothing(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("DELETE FROM users")


def of_another_program(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


UNUSABLE: dict[str, tuple[type[NexusError], str, Callable[[Path], object]]] = {
    "newer": (SchemaTooNew, "newer Nexus", a_newer_one),
    "half": (StoreFailed, "damaged", lambda copy: os.truncate(copy, copy.stat().st_size // 2)),
    "page": (StoreFailed, "damaged", lambda copy: copy.write_bytes(copy.read_bytes()[:8192] + b"\xff" * 90000)),
    "references": (StoreFailed, "damaged", with_a_reference_to_nothing),
    "foreign": (StoreFailed, "another program", of_another_program),
    "empty": (StoreFailed, "empty", lambda copy: os.truncate(copy, 0)),
    "text": (StoreFailed, "not a database", lambda copy: copy.write_text("Dear diary\n" * 1000)),
    "log": (StoreFailed, "not all of a database", lambda copy: copy.with_name("backup.db-wal").write_bytes(b"more")),
    "missing": (StoreFailed, "No such file", lambda copy: copy.unlink()),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_backup_of_no_use_changes_nothing(store: SqliteStore, path: Path, copy: Path, what: str) -> None:
    backup.back_up(path, copy)
    store.close()
    error, words, spoil = UNUSABLE[what]
    spoil(copy)
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        put_back(path, copy)
    assert names(path.parent) == ["nexus.db"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", [None, bytes(32)], ids=["no key", "another key"])
def test_without_its_key_nothing_is_changed(store: SqliteStore, path: Path, copy: Path, key: bytes | None) -> None:
    backup.back_up(path, copy)
    store.close()
    with pytest.raises(StoreFailed, match="key"):
        put_back(path, copy, key)
    assert names(path.parent) == ["nexus.db"]
    assert len(known(path)) == 3


def test_a_raw_copy_in_the_mode_of_a_database_in_use_is_taken_too(store: SqliteStore, path: Path, copy: Path) -> None:
    store.close()
    shutil.copy(path, copy)
    put_back(path, copy)
    assert names(path.parent) == ["nexus.db", ASIDE]
    assert len(known(path)) == 3


# What a restored database must not do


def test_ids_of_events_go_on_after_any_that_was_given_out(store: SqliteStore, path: Path, copy: Path) -> None:
    backup.back_up(path, copy)
    with store.transaction() as records:
        for _ in range(5):
            records.events.add(event())
        seen = records.events.after(0)[-1].id
    store.close()
    put_back(path, copy)
    with closing(SqliteStore.open(path, key=KEY)) as again, again.transaction() as records:
        records.events.add(event())
        assert [one.id for one in records.events.after(seen)] == [1_000_000_002]


def test_ids_of_events_go_on_also_where_there_was_none(path: Path, copy: Path) -> None:
    SqliteStore.open(path, key=KEY).close()
    backup.back_up(path, copy)
    put_back(path, copy)
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, workspace(1))
        with store.transaction() as records:
            records.events.add(event())
            assert [one.id for one in records.events.after(0)] == [1_000_000_001]


def test_no_container_is_made_anew_that_may_have_been_made_since(path: Path, copy: Path) -> None:
    half_made = operation(1, of=1, status=OperationStatus.RUNNING).with_step(
        0, Step(StepName.CREATE_INSTANCE, StepStatus.RUNNING)
    )
    made = operation(2, of=2, status=OperationStatus.RUNNING).with_step(
        0, Step(StepName.CREATE_INSTANCE, StepStatus.DONE)
    )
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(
            store,
            workspace(1, status=Status.CREATING),
            workspace(2, status=Status.CREATING, provisioned=frozenset({"create_instance"})),
            workspace(3),
            workspace(4, status=Status.STOPPED),
            workspace(5, status=Status.DELETING),
            deleted(6),
        )
        with store.transaction() as records:
            for one in (
                half_made,
                made,
                operation(3, of=3),
                finished(4, of=4, status=OperationStatus.CANCELLED),
                operation(5, of=5, kind=OperationKind.DELETE),
            ):
                records.operations.add(one)
    backup.back_up(path, copy)
    put_back(path, copy)
    with closing(SqliteStore.open(path, key=KEY)) as store, store.snapshot() as records:
        found = {number: records.workspaces.get(workspace(number).id) for number in range(1, 7)}
        operations = {number: records.operations.latest(workspace(number).id) for number in range(1, 6)}
        told = [(one.workspace_id, one.data["status"]) for one in records.events.after(0)]
    assert {number: one and one.status.value for number, one in found.items()} == {
        1: "error",
        2: "creating",
        3: "error",
        4: "stopped",
        5: "deleting",
        6: "deleted",
    }
    assert {number: one and one.status.value for number, one in operations.items()} == {
        1: "cancelled",
        2: "running",
        3: "cancelled",
        4: "cancelled",
        5: "queued",
    }
    assert operations[2] == made
    # Starting one makes no other container.
    assert [number for number, one in found.items() if one and "create_instance" not in one.provisioned] == [6]
    assert found[1] is not None
    assert found[1].error is not None
    assert (found[1].error.code, found[1].error.step) == ("instance_missing", "create_instance")
    assert sorted(told) == [(workspace(1).id, "error"), (workspace(3).id, "error")]


# Dying meanwhile

RESTORE = """
import os, pathlib, signal, sys
from datetime import UTC, datetime
from nexus_sqlite import restore
left = int(sys.argv[3])
def dying(real):
    def call(*arguments, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*arguments, **more)
    return call
os.fsync, os.link = dying(os.fsync), dying(os.link)
for name in ("rename", "unlink", "touch"):
    setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
restore.connect_writer = dying(restore.connect_writer)
restore.shutil.copyfile = dying(restore.shutil.copyfile)
now = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
restore.restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), key=bytes(range(32)), now=now)
"""


def test_a_kill_at_any_moment_leaves_what_was_or_the_backup_and_it_can_be_done_again(
    store: SqliteStore, path: Path, copy: Path, tmp_path: Path
) -> None:
    """The process is killed before each call that changes something on the disk, the next one each time."""
    backup.back_up(path, copy)
    with store.transaction() as records:
        records.workspaces.add(workspace(4))
    outcomes: list[bool] = []
    for moment in range(60):
        died = tmp_path / f"state-{moment}"
        died.mkdir()
        for ending in ("", "-wal", "-shm"):  # as a server leaves it that was killed too
            shutil.copy(connections.beside(path, ending), connections.beside(died / "nexus.db", ending))
        arguments = [sys.executable, "-c", RESTORE, str(died / "nexus.db"), str(copy), str(moment)]
        code = subprocess.run(arguments, check=False, timeout=60).returncode
        assert code in (0, -signal.SIGKILL)
        with closing(sqlite3.connect(died / "nexus.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        outcomes.append(workspace(4).id not in known(died / "nexus.db"))
        if code == 0:
            break
        put_back(died / "nexus.db", copy)
        assert workspace(4).id not in known(died / "nexus.db")
        assert not [name for name in names(died) if "restoring" in name]
    assert len(outcomes) > 10, "there are that many moments"
    assert outcomes == sorted(outcomes), "first the old, from some moment on the new"
    assert (outcomes[0], outcomes[-1]) == (False, True)


@pytest.mark.parametrize("call", ["fsync", "link", "rename"])
def test_a_restore_that_fails_leaves_what_was(
    store: SqliteStore, path: Path, copy: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.back_up(path, copy)
    store.close()
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if call == "rename" else os, call, full)
        with pytest.raises(StoreFailed, match="No space left"):
            put_back(path, copy)
    assert path.read_bytes() == before
    assert not [name for name in names(path.parent) if "restoring" in name]
    put_back(path, copy)
    assert len(known(path)) == 3
