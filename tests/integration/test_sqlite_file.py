"""The SQLite store and its file: who may read it, what survives, and who else is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from contracts.samples import user, workspace
from contracts.store_contract import fill
from nexus_core.errors import DatabaseBusy, SchemaTooNew, StoreFailed
from nexus_sqlite import SqliteStore, connections, errors, migrations, readers

KEY = bytes(32)  # the same in the processes below
OPEN_AND_TELL = """
import sys
from nexus_sqlite import SqliteStore
print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore.open(sys.argv[1], key=bytes(32), patience=30)
print(store.server_id, store.status().schema_version)
store.close()
"""
COMMIT_THEN_HANG = """
import sys
from contracts.samples import user
from nexus_sqlite import SqliteStore
store = SqliteStore.open(sys.argv[1], key=bytes(32))
with store.transaction() as records:
    records.users.add(user(1))
transaction = store.transaction()
records = transaction.__enter__()
records.users.add(user(2))
print("committed", flush=True)
sys.stdin.readline()
"""
HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(path, key=KEY, patience=0.05)
    yield store
    store.close()


def start(script: str, path: Path) -> subprocess.Popen[str]:
    """A process of its own that has said it is where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in ("ready", "committed", "locked")
    return process


def contents(path: Path) -> dict[str, str]:
    """A digest of the file and of its log, if there is something in one."""
    files = (path, path.with_name(path.name + "-wal"))
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.exists() and file.stat().st_size
    }


def pretend_a_newer_version(connection: sqlite3.Connection) -> None:
    """Record a step that no version knows yet."""
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('nexus', '9999_later', 'then')"
    )


# Opening


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(SqliteStore.open(path, key=KEY)) as store:
            fill(store)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"nexus.db": 0o600, "nexus.db-wal": 0o600, "nexus.db-shm": 0o600}


def test_a_file_that_exists_keeps_its_mode(path: Path) -> None:
    path.touch(mode=0o640)
    SqliteStore.open(path, key=KEY).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_connections_are_as_they_must_be(store: SqliteStore) -> None:
    def pragma(connection: sqlite3.Connection, name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    writer = store._writer.connection
    reader = store._readers.lend()
    assert pragma(writer, "journal_mode") == pragma(reader.connection, "journal_mode") == "wal"
    assert pragma(writer, "foreign_keys") == 1
    assert pragma(writer, "synchronous") == 2
    assert pragma(writer, "busy_timeout") == pragma(reader.connection, "busy_timeout") == 50
    assert pragma(reader.connection, "query_only") == 1
    store._readers.take_back(reader)


def test_everything_is_there_after_closing_and_the_log_is_folded_in(path: Path) -> None:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, workspace())
        mark = store.server_id
        with store.snapshot() as records:
            assert records.workspaces.get(workspace().id) is not None
    assert [file.name for file in path.parent.iterdir()] == ["nexus.db"]
    with closing(SqliteStore.open(str(path), key=KEY)) as store:
        assert store.server_id == mark
        with store.snapshot() as records:
            assert records.workspaces.get(workspace().id) == workspace()


def test_the_size_counts_the_log(store: SqliteStore, path: Path) -> None:
    fill(store, workspace())
    log = path.with_name("nexus.db-wal").stat().st_size
    assert log > 0
    assert store.status().size_bytes == path.stat().st_size + log


def test_size_without_a_log(path: Path) -> None:
    path.write_bytes(b"1234")
    assert connections.size_on_disk(path) == 4


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="No such file or directory"):
        SqliteStore.open(tmp_path / "missing" / "nexus.db", key=KEY)


@pytest.mark.parametrize("name", ["a b?mode=memory#c%41.db", ":memory:", "file:nexus.db", "nexus.db"])
def test_a_file_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    with closing(SqliteStore.open(path, key=KEY)) as store:
        monkeypatch.chdir("/")
        fill(store)
        with store.snapshot() as records:
            assert records.users.get(user().id) == user()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_in_memory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SqliteStore.in_memory()) as one, closing(SqliteStore.in_memory()) as other:
        fill(one)
        with other.snapshot() as records:
            assert records.users.get(user().id) is None
    assert list(tmp_path.iterdir()) == []


# Several processes


def test_three_processes_may_open_a_new_file_at_once(path: Path) -> None:
    processes = [start(OPEN_AND_TELL, path) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(told)) == 1
    assert told[0].split()[1] == str(len(migrations.STEPS))


def test_what_was_committed_survives_a_kill_and_what_was_not_does_not(path: Path) -> None:
    process = start(COMMIT_THEN_HANG, path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with closing(SqliteStore.open(path, key=KEY)) as store, store.snapshot() as records:
        assert records.users.get(user(1).id) == user(1)
        assert records.users.get(user(2).id) is None


def test_a_database_locked_by_another_process_is_busy_and_can_be_read(store: SqliteStore, path: Path) -> None:
    fill(store)
    process = start(HOLD_THE_LOCK, path)
    with pytest.raises(DatabaseBusy, match="Another process"):
        store.check_writable()
    with store.snapshot() as records:
        assert records.users.get(user().id) == user()
    with closing(SqliteStore.open(path, key=KEY, patience=0.05)) as second:
        assert second.server_id == store.server_id
    process.communicate("done\n", timeout=60)
    store.check_writable()


def test_a_new_file_locked_by_another_process_is_busy(path: Path) -> None:
    process = start(HOLD_THE_LOCK, path)
    with pytest.raises(DatabaseBusy):
        SqliteStore.open(path, key=KEY, patience=0.05)
    process.communicate("done\n", timeout=60)
    SqliteStore.open(path, key=KEY).close()


# Several threads


def test_a_thread_waits_for_the_writer_only_so_long(store: SqliteStore) -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)
    with pytest.raises(DatabaseBusy, match="Another thread"):
        store.check_writable()
    done.set()
    thread.join(30)
    store.check_writable()


def test_readers_do_not_wait_for_the_writer_nor_see_it_half_done(store: SqliteStore) -> None:
    """Each transaction adds two workspaces: an odd number would be half of one."""
    fill(store)
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            with store.snapshot() as records:
                counted = sum(records.workspaces.count_by_status().values())
                listed = len(records.workspaces.of_owner(user().id))
            seen.append(counted if counted == listed else -1)

    threads = [threading.Thread(target=read) for _ in range(readers._KEPT + 2)]
    for thread in threads:
        thread.start()
    for number in range(1, 40, 2):
        with store.transaction() as records:
            records.workspaces.add(workspace(number))
            records.workspaces.add(workspace(number + 1))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert set(seen) <= set(range(0, 41, 2))


def test_readers_are_kept_up_to_a_number(store: SqliteStore) -> None:
    pool = store._readers
    assert isinstance(pool, readers.PooledReaders)
    lent = [pool.lend() for _ in range(readers._KEPT + 3)]
    for reader in lent:
        pool.take_back(reader)
    assert len(pool._idle) == readers._KEPT
    late = pool.lend()
    store.close()
    assert len(pool._idle) == 0
    pool.take_back(late)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        late.connection.execute("SELECT 1")


def test_a_reader_whose_moment_ended_by_itself_is_used_again(store: SqliteStore) -> None:
    reader = store._readers.lend()
    reader.connection.execute("ROLLBACK")  # as SQLite does after some errors
    store._readers.take_back(reader)
    with store.snapshot() as records:
        assert records.users.get(user().id) is None
    assert store._readers.lend() is reader
    store._readers.take_back(reader)


def test_closing_inside_a_transaction_is_refused(store: SqliteStore) -> None:
    with store.transaction(), pytest.raises(RuntimeError, match="do not nest"):
        store.close()
    fill(store)


def test_no_statement_and_no_moment_is_left_open(store: SqliteStore) -> None:
    """A reader that still holds a moment would keep the log from being folded in."""
    fill(store, workspace())
    with store.snapshot() as records:
        records.workspaces.get(workspace().id)
        records.users.by_name("person-1")
    with pytest.raises(RuntimeError), store.snapshot() as records:
        records.users.add(user(3))
    blocked, _, _ = store._writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert blocked == 0
    assert not store._writer.connection.in_transaction


# Files that are not what they should be


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        pretend_a_newer_version(store._writer.connection)
    before = contents(path)
    with pytest.raises(SchemaTooNew) as refused:
        SqliteStore.open(path, key=KEY)
    assert contents(path) == before
    assert refused.value.details == {"schema_version": 9999, "known_version": len(migrations.STEPS)}


def test_a_newer_schema_in_the_log_of_a_killed_process_is_left_alone(path: Path, tmp_path: Path) -> None:
    """What a crash left in the log belongs to the newer version too."""
    crashed = tmp_path / "crashed" / "nexus.db"
    crashed.parent.mkdir()
    with closing(SqliteStore.open(path, key=KEY)) as store:
        pretend_a_newer_version(store._writer.connection)
        for name in ("nexus.db", "nexus.db-wal"):
            shutil.copy(path.with_name(name), crashed.with_name(name))
    before = contents(crashed)
    assert len(before) == 2
    with pytest.raises(SchemaTooNew):
        SqliteStore.open(crashed, key=KEY)
    assert contents(crashed) == before


def test_a_newer_process_that_is_faster_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look before the lock found nothing; meanwhile another process has brought a later schema."""
    with closing(SqliteStore.in_memory()) as store:
        connection = store._writer.connection
        connection.execute("DELETE FROM _sqlite_migrations")
        look = migrations.refuse_foreign

        def look_and_be_overtaken(looked_at: sqlite3.Connection) -> None:
            look(looked_at)
            if not looked_at.in_transaction:
                pretend_a_newer_version(looked_at)

        monkeypatch.setattr(migrations, "refuse_foreign", look_and_be_overtaken)
        with pytest.raises(SchemaTooNew):
            migrations.migrate(connection)
        assert not connection.in_transaction


def test_a_migration_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def m9999_fails(db: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, m9999_fails))
    with pytest.raises(RuntimeError, match="no"):
        SqliteStore.open(path, key=KEY)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    SqliteStore.open(path, key=KEY).close()


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = contents(path)
    with pytest.raises(StoreFailed, match="another program"):
        SqliteStore.open(path, key=KEY)
    assert contents(path) == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, today I was taken for a database.\n" * 40)
    before = contents(path)
    with pytest.raises(StoreFailed, match="not a database"):
        SqliteStore.open(path, key=KEY)
    assert contents(path) == before


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="is not a file"):
        SqliteStore.open(tmp_path, key=KEY)


def test_a_damaged_file_is_told_where_it_is_met(path: Path) -> None:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, *(workspace(number) for number in range(1, 60)))
        for (page,) in store._writer.connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name IN ('users', 'workspaces')"
        ).fetchall():
            store._writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as file:
                file.seek((page - 1) * 4096)
                file.write(b"\xff" * 4096)
    with (
        closing(SqliteStore.open(path, key=KEY)) as store,
        pytest.raises(StoreFailed, match="damaged"),
        store.snapshot() as records,
    ):
        records.workspaces.get(workspace().id)


def test_a_full_disk_is_busy_and_passes(store: SqliteStore) -> None:
    fill(store)
    connection = store._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def add_many() -> None:
        with store.transaction() as records:
            for number in range(1, 200):
                records.workspaces.add(workspace(number, notes=("x" * 500,)))

    with pytest.raises(DatabaseBusy, match="disk is full"):
        add_many()
    connection.execute("PRAGMA max_page_count = 1000000")
    add_many()


@contextmanager
def as_nobody() -> Generator[Path]:
    """A folder of a user without privileges, and the rights of that user: root may write anything."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_a_read_only_file_can_be_read() -> None:
    with as_nobody() as folder:
        path = folder / "nexus.db"
        with closing(SqliteStore.open(path, key=KEY)) as store:
            fill(store)
        path.chmod(0o400)
        with closing(SqliteStore.open(path, key=KEY)) as store:
            with store.snapshot() as records:
                assert records.users.get(user().id) == user()
            with pytest.raises(DatabaseBusy, match="read-only"):
                store.check_writable()


def test_a_read_only_folder_is_told() -> None:
    with as_nobody() as folder:
        folder.chmod(0o500)
        with pytest.raises(StoreFailed, match="Permission denied"):
            SqliteStore.open(folder / "nexus.db", key=KEY)
        folder.chmod(0o700)


def test_a_place_without_a_write_ahead_log_is_refused() -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(StoreFailed, match="'memory'"),
    ):
        connections.use_wal(connection, 0)


# Errors


@pytest.mark.parametrize(
    "exception",
    [
        value
        for value in vars(sqlite3).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == "sqlite3"
    ],
)
def test_no_exception_of_sqlite3_gets_out(exception: type[Exception]) -> None:
    with pytest.raises((StoreFailed, DatabaseBusy)) as translated, errors.translated():
        raise exception("secret value")
    assert isinstance(translated.value.__cause__, exception)
    assert "secret" not in str(translated.value)


@pytest.mark.parametrize(
    ("code", "mapped"),
    [
        (sqlite3.SQLITE_BUSY, DatabaseBusy),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DatabaseBusy),
        (sqlite3.SQLITE_LOCKED, DatabaseBusy),
        (sqlite3.SQLITE_FULL, DatabaseBusy),
        (sqlite3.SQLITE_READONLY, DatabaseBusy),
        (sqlite3.SQLITE_READONLY_DBMOVED, DatabaseBusy),
        (sqlite3.SQLITE_IOERR, DatabaseBusy),
        (sqlite3.SQLITE_IOERR_FSYNC, DatabaseBusy),
        (sqlite3.SQLITE_CORRUPT, StoreFailed),
        (sqlite3.SQLITE_NOTADB, StoreFailed),
        (sqlite3.SQLITE_CANTOPEN, StoreFailed),
        (sqlite3.SQLITE_CONSTRAINT_CHECK, StoreFailed),
        (sqlite3.SQLITE_MISUSE, StoreFailed),
        (sqlite3.SQLITE_ERROR, StoreFailed),
    ],
)
def test_what_may_pass_is_busy_and_the_rest_has_failed(code: int, mapped: type[Exception]) -> None:
    exc = sqlite3.OperationalError("whatever")
    exc.sqlite_errorcode = code
    assert type(errors.translate(exc)) is mapped
