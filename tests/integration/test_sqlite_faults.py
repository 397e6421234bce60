"""What becomes of the SQLite store when its file is locked, lost, replaced, full or damaged, and after that."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from contracts.samples import user, workspace
from contracts.store_contract import fill
from nexus_core.errors import DatabaseBusy, StoreFailed
from nexus_sqlite import SqliteStore, connections

KEY = bytes(32)
FILES = ("nexus.db", "nexus.db-wal", "nexus.db-shm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, workspace(1))
        yield store


@contextmanager
def locked(path: Path, how: str = "IMMEDIATE") -> Generator[None]:
    """Another connection holds the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
        other.execute("ROLLBACK")


def known(store: SqliteStore) -> int:
    """How many workspaces can be read."""
    with store.snapshot() as records:
        return sum(records.workspaces.count_by_status().values())


def add(store: SqliteStore, number: int) -> None:
    with store.transaction() as records:
        records.workspaces.add(workspace(number))


def in_file(path: Path) -> int:
    """How many workspaces are in the file, with its log if there is one; it is whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count: int
        (count,) = connection.execute("SELECT count(*) FROM workspaces").fetchone()
        return count


def busy_timeout(store: SqliteStore) -> int:
    milliseconds: int
    (milliseconds,) = store._writer.connection.execute("PRAGMA busy_timeout").fetchone()
    return milliseconds


# Locked by another process


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_lock_is_waited_for_once_and_then_only_tried(store: SqliteStore, path: Path, how: str) -> None:
    assert busy_timeout(store) == 250
    with locked(path, how):
        with pytest.raises(DatabaseBusy, match="Another process is writing"):
            add(store, 2)
        for _ in range(3):
            with pytest.raises(DatabaseBusy, match="End that process"):
                store.check_writable()
            assert busy_timeout(store) == 0
            assert known(store) == 1
    add(store, 2)
    add(store, 3)
    assert busy_timeout(store) == 250
    assert known(store) == 3


def test_who_need_not_wait_does_not_and_lets_others_wait(store: SqliteStore, path: Path) -> None:
    with locked(path):
        with pytest.raises(DatabaseBusy), store.transaction(wait=False):
            raise AssertionError("got in")  # pragma: no cover  # the point of the test
        assert busy_timeout(store) == 0
        with pytest.raises(DatabaseBusy):
            add(store, 2)
        assert busy_timeout(store) == 250
    add(store, 2)


def test_another_thread_is_not_waited_for_either(store: SqliteStore) -> None:
    refused: list[DatabaseBusy] = []

    def come_in_between() -> None:
        try:
            with store.transaction(wait=False):
                raise AssertionError("got in")  # pragma: no cover  # the point of the test
        except DatabaseBusy as error:
            refused.append(error)

    with store.transaction():
        thread = threading.Thread(target=come_in_between)
        thread.start()
        thread.join(30)
    assert [error.why for error in refused] == ["Another thread is writing to it."]


def test_other_errors_do_not_end_the_waiting(store: SqliteStore) -> None:
    waiting = connections.Waiting(store._writer.connection, 0.25)
    with waiting.immediate(wait=True), pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        waiting.immediate(wait=True).__enter__()
    with waiting.immediate(wait=True):
        assert busy_timeout(store) == 250


# Moved away, deleted, replaced


@pytest.mark.parametrize("names", [FILES[:1], FILES], ids=["file", "all"])
def test_a_file_that_was_moved_away_takes_nothing_until_it_is_back(
    store: SqliteStore, path: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    assert known(store) == 1
    for name in names:
        path.with_name(name).rename(away / name)
    for attempt in (store.check_writable, store.verify, lambda: add(store, 2)):
        with pytest.raises(StoreFailed, match="moved away or deleted") as told:
            attempt()
        assert "nexus restore" in told.value.fix
    assert known(store) == 1, "what was open can still be read"
    for name in names:
        (away / name).rename(path.with_name(name))
    store.verify()
    add(store, 2)
    store.close()
    assert in_file(path) == 2


def test_another_file_in_its_place_is_neither_written_nor_read(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    assert known(store) == 1
    away = tmp_path / "away.db"
    path.rename(away)
    shutil.copy(away, path)
    before = path.read_bytes()
    with pytest.raises(StoreFailed, match=r"Another file has taken nexus\.db's place"):
        add(store, 2)
    reader = store._readers.lend()  # the one that was open; for another, the file would have to be opened
    with pytest.raises(StoreFailed, match="Another file"):
        store._readers.lend()
    store._readers.take_back(reader)
    assert path.read_bytes() == before
    away.rename(path)
    add(store, 2)
    assert known(store) == 2


def test_a_file_that_is_away_when_the_store_is_closed_keeps_its_log(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away.db"
    path.rename(away)
    store.close()
    assert path.with_name("nexus.db-wal").stat().st_size > 0
    with pytest.raises(StoreFailed, match=r"its log nexus\.db-wal is"):
        SqliteStore.open(path, key=KEY)
    assert not path.exists()
    away.rename(path)
    with closing(SqliteStore.open(path, key=KEY)) as again:
        assert known(again) == 1


@pytest.mark.parametrize("lost", [("-wal",), ("-shm",), ("-wal", "-shm")], ids=str)
@pytest.mark.parametrize("notice", ["transaction", "verify"])
def test_a_log_that_was_deleted_loses_nothing(
    store: SqliteStore, path: Path, lost: tuple[str, ...], notice: str
) -> None:
    add(store, 2)
    assert known(store) == 2
    for ending in lost:
        connections.beside(path, ending).unlink()
    if notice == "verify":
        store.verify()
    add(store, 3)
    for ending in lost:
        assert connections.beside(path, ending).exists()
    assert known(store) == 3
    # What a process that ends now leaves is whole.
    copy = path.with_name("copy.db")
    for ending in ("", "-wal"):
        shutil.copy(connections.beside(path, ending), connections.beside(copy, ending))
    assert in_file(copy) == 3


def test_a_log_that_was_deleted_while_somebody_reads_waits_for_them(store: SqliteStore, path: Path) -> None:
    add(store, 2)
    reader = store._readers.lend()
    connections.beside(path, "-wal").unlink()
    with pytest.raises(DatabaseBusy, match="opened anew"):
        add(store, 3)
    store._readers.take_back(reader)
    add(store, 3)
    assert known(store) == 3


def test_opening_anew_is_tried_until_it_succeeds(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 2)
    connections.beside(path, "-wal").unlink()
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        patch.setattr(connections, "use_wal", refuse)
        for _ in range(2):
            with pytest.raises(StoreFailed):
                add(store, 3)
    add(store, 3)
    assert known(store) == 3


def test_a_log_held_open_by_another_process_is_folded_in_when_that_has_ended(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM server").fetchall()
        add(store, 2)
        connections.beside(path, "-wal").unlink()
        with pytest.raises(DatabaseBusy):
            add(store, 3)
    add(store, 3)
    assert known(store) == 3


# A full disk


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    """Three megabytes that are a disk of their own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "nexus-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_takes_nothing_half_and_all_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder, closing(SqliteStore.open(folder / "nexus.db", key=KEY)) as store:
        fill(store, workspace(1))
        store.check_writable()
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(DatabaseBusy, match=r"disk is full.*Make room"):
            store.check_writable()
        added = 1
        with pytest.raises(DatabaseBusy, match="full"):  # noqa: PT012  # how much still fits is the file system's affair
            for number in range(2, 2000):
                add(store, number)
                added += 1
        assert known(store) == added
        store.verify()
        filler.unlink()
        store.check_writable()
        add(store, 5000)
        store.close()
        assert in_file(folder / "nexus.db") == added + 1


def test_the_last_room_is_told_before_it_is_used_up(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of one byte fits into the log as it is, where nothing larger would."""
    real = os.statvfs

    def full(path: str) -> os.statvfs_result:
        found = list(real(path))
        found[3] = found[4] = 10  # blocks that are free, and free for all
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", full)
    with pytest.raises(DatabaseBusy, match="full"):
        store.check_writable()
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(DatabaseBusy, match="full"):
        store.check_writable()
    add(store, 2)
    monkeypatch.undo()
    store.check_writable()


# Damage


def damage(path: Path, store: SqliteStore, table: str) -> bytes:
    """Overwrite the first page of a table, or for the empty name the file's header; what was there."""
    connection = store._writer.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    row = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    at, length = ((row[0] - 1) * 4096, 4096) if row else (0, 100)
    with path.open("r+b") as file:
        file.seek(at)
        before = file.read(length)
        file.seek(at)
        file.write(b"\xff" * length)
    return before


def mend(path: Path, store: SqliteStore, table: str, before: bytes) -> None:
    """Put back what `damage` overwrote."""
    at = 0
    if table:
        connection = store._writer.connection
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        at = (root - 1) * 4096
    with path.open("r+b") as file:
        file.seek(at)
        file.write(before)


@pytest.mark.parametrize("table", ["events", "workspaces", "api_tokens", ""])
def test_damage_is_found_though_pages_are_remembered_and_ends_the_writing_until_it_is_gone(
    store: SqliteStore, path: Path, table: str
) -> None:
    assert known(store) == 1
    before = damage(path, store, table)
    with pytest.raises(StoreFailed, match=r"damaged|not a database") as found:
        store.verify()
    assert "nexus restore" in found.value.fix
    for attempt in (store.check_writable, store.verify, lambda: add(store, 2)):
        with pytest.raises(StoreFailed, match=r"damaged|not a database"):
            attempt()
    mend(path, store, table, before)
    store.verify()
    store.check_writable()
    add(store, 2)
    assert known(store) == 2
    store.close()
    assert in_file(path) == 2


def test_damage_that_was_read_is_forgotten_when_it_is_gone(store: SqliteStore, path: Path) -> None:
    """Connections remember the damaged page as they remember any other."""
    before = damage(path, store, "users")
    store.close()
    with closing(SqliteStore.open(path, key=KEY)) as again:
        for context in (again.snapshot, again.transaction):
            with pytest.raises(StoreFailed, match="damaged"), context() as records:
                records.users.get(user().id)
        with pytest.raises(StoreFailed):
            again.verify()
        mend(path, again, "users", before)
        again.verify()
        for context in (again.snapshot, again.transaction):
            with context() as records:
                assert records.users.get(user().id) == user()


def test_a_file_that_was_cut_off_is_damaged(store: SqliteStore, path: Path) -> None:
    store._writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    with pytest.raises(StoreFailed, match="damaged"):
        store.verify()
    with path.open("r+b") as file:
        file.write(whole)
    store.verify()


def test_what_keeps_the_file_from_being_looked_at_is_no_damage(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(connections, "connect_reader", refuse)
        with pytest.raises(StoreFailed, match="cannot be opened"):
            store.verify()
    add(store, 2)


@pytest.mark.parametrize("content", [b"\xff" * 9000, b"SQLite format 3\0" + b"\xff" * 9000], ids=["header", "rest"])
def test_a_damaged_file_at_the_start_names_the_way_back(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreFailed, match="nexus restore"):
        SqliteStore.open(path, key=KEY)
    assert path.read_bytes() == content
