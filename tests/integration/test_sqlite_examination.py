"""The database as the doctor finds it: whole, damaged, open to others, with another key, newer, or gone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from contracts.samples import user, workspace
from contracts.store_contract import fill
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.errors import DatabaseBusy, ProviderFailed, SchemaTooNew, StoreFailed
from nexus_sqlite import SqliteStore, examination
from nexus_sqlite.as_found import RecordsAsFound
from nexus_sqlite.examination import SqliteExaminer

KEY = bytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with something in it, that no server has open."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    path = folder / "nexus.db"
    store = SqliteStore.open(path, key=KEY)
    fill(store, workspace(1))
    store.close()
    return path


def examiner(path: Path, key: bytes | None = KEY, *private: Path) -> SqliteExaminer:
    return SqliteExaminer(path, key=lambda: key, private=private)


def never(*_: object) -> bool:
    return False


def open_to_others(file: Path) -> None:
    file.chmod(0o644)


def move_away(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


def overwrite(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 500)


async def found(path: Path, key: bytes | None = KEY, *private: Path) -> dict[str, Finding]:
    """What is not well."""
    seen = await examiner(path, key, *private).examine()
    return {one.subject: one for one in seen if one.verdict is not Verdict.OK}


class TestContract(ExaminerContract):
    @pytest.fixture
    def stage(self, path: Path) -> ExaminerStage:
        def spoil() -> str:
            open_to_others(path)
            return str(path)

        return ExaminerStage(examiner(path), spoil)


class TestFiles:
    async def test_all_is_well(self, path: Path) -> None:
        assert await found(path) == {}

    async def test_none_yet(self, tmp_path: Path) -> None:
        (finding,) = await examiner(tmp_path / "none" / "nexus.db").examine()
        assert finding.verdict is Verdict.OK
        assert not (tmp_path / "none").exists()

    async def test_it_is_gone(self, path: Path) -> None:
        key_file = path.with_name("database-key")
        key_file.touch(0o600)
        move_away(path)
        finding = (await found(path, KEY, key_file))["file"]
        assert finding.verdict is Verdict.FAILURE
        assert "database-key" in finding.says
        assert "nexus restore" in finding.fix

    async def test_each_file_and_the_folder_are_closed(self, path: Path) -> None:
        token, folder = path.with_name("admin-token"), path.parent
        token.touch(0o600)
        token.chmod(0o640)
        folder.chmod(0o755)
        wrong = await found(path, KEY, token)
        assert wrong.keys() == {str(folder), str(token)}
        for finding in wrong.values():
            assert (await examiner(path).mend(finding)).verdict is Verdict.OK
        assert (token.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)

    async def test_a_link_is_not_followed(self, path: Path) -> None:
        elsewhere = path.parent.parent / "elsewhere"
        elsewhere.touch(0o644)
        link = path.with_name("admin-token")
        link.symlink_to(elsewhere)
        assert await found(path, KEY, link) == {}

    async def test_a_file_that_vanishes_cannot_be_closed(self, path: Path) -> None:
        open_to_others(path)
        (finding,) = (await found(path)).values()
        move_away(path)
        assert (await examiner(path).mend(finding)).verdict is Verdict.FAILURE

    async def test_a_file_of_another_user(self, path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(path, 12345, -1)
        finding = (await found(path))[str(path)]
        assert finding.verdict is Verdict.WARNING
        assert "id 12345" in finding.says

    @pytest.mark.parametrize(("free", "verdict"), [(10 * 1024**2, Verdict.FAILURE), (200 * 1024**2, Verdict.WARNING)])
    async def test_little_room(self, path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
        class Usage(NamedTuple):
            free: int

        def usage(_: Path) -> Usage:
            return Usage(free)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        assert (await found(path))["disk"].verdict is verdict

    async def test_a_folder_that_may_not_be_entered(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_: Path) -> None:
            raise PermissionError

        monkeypatch.setattr(Path, "lstat", refused)
        (finding,) = await examiner(path).examine()
        assert finding.verdict is Verdict.WARNING
        assert "as root" in finding.fix


class TestContent:
    async def test_while_a_server_writes(self, path: Path) -> None:
        store = SqliteStore.open(path, key=KEY)
        with store.transaction():
            assert await found(path) == {}
        store.close()

    async def test_damage(self, path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(5 * 4096)
            file.write(os.urandom(4096 * 8))
        wrong = await found(path)
        assert {one.verdict for one in wrong.values()} == {Verdict.FAILURE}
        assert any("damaged" in one.says for one in wrong.values())
        assert all("nexus restore" in one.fix for one in wrong.values())

    async def test_a_row_that_belongs_to_nothing(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM users")
        finding = (await found(path))["integrity"]
        assert finding.verdict is Verdict.FAILURE
        assert "belongs to a row of users that is not there" in finding.says

    async def test_something_else(self, path: Path) -> None:
        overwrite(path)
        assert (await found(path))["content"].says == "The database failed: The file is not a database"

    async def test_another_key(self, path: Path) -> None:
        finding = (await found(path, bytes([1]) * 32))["key"]
        assert finding.says.endswith("The key file does not belong to this database")

    async def test_no_key(self, path: Path) -> None:
        assert (await found(path, None))["key"].verdict is Verdict.FAILURE

    async def test_a_key_that_cannot_be_read(self, path: Path) -> None:
        def unreadable() -> bytes:
            raise ProviderFailed("database-key cannot be read")

        seen = await SqliteExaminer(path, key=unreadable).examine()
        assert [one.says for one in seen if one.subject == "key"] == ["database-key cannot be read"]

    async def test_a_newer_schema(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('nexus', '0999_later', '')"
            )
        assert "newer Nexus" in (await found(path))["content"].says
        with pytest.raises(SchemaTooNew):
            RecordsAsFound(path, key=KEY)

    async def test_an_older_schema(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM _sqlite_migrations WHERE name = (SELECT max(name) FROM _sqlite_migrations)")
        assert (await found(path))["schema"].verdict is Verdict.WARNING
        with pytest.raises(StoreFailed, match="older schema"):
            RecordsAsFound(path, key=KEY)

    async def test_a_file_too_large_to_be_looked_through(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(examination, "_LONGEST", -1.0)
        monkeypatch.setattr(examination, "_STEPS", 1)
        finding = (await found(path))["integrity"]
        assert finding.verdict is Verdict.WARNING

    async def test_a_file_that_may_not_be_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object) -> None:
            raise sqlite3.OperationalError("unable to open database file")

        monkeypatch.setattr(examination, "connect_reader", refused)
        monkeypatch.setattr(os, "access", never)
        assert (await found(path))["content"].verdict is Verdict.WARNING

    async def test_a_lock_that_is_held_for_long(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def busy(*_: object) -> None:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

        monkeypatch.setattr(examination, "connect_reader", busy)
        assert (await found(path))["content"].verdict is Verdict.WARNING


class TestRecordsAsFound:
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore.open(path, key=KEY)
        yield store
        store.close()

    def test_they_are_those_of_the_server(self, path: Path, store: SqliteStore) -> None:
        as_found = RecordsAsFound(path, key=KEY)
        assert (as_found.server_id, as_found.restored_at) == (store.server_id, store.restored_at)
        with store.transaction() as records:
            records.users.add(user(7))
        with as_found.snapshot() as seen, store.transaction() as records:
            assert seen.users.get(user(7).id) == user(7)
            records.users.add(user(8))
            assert seen.users.get(user(8).id) is None, "one moment"

    def test_they_cannot_be_written(self, path: Path) -> None:
        with pytest.raises(DatabaseBusy, match="can only be read"), RecordsAsFound(path, key=KEY).snapshot() as records:
            records.users.add(user(9))
