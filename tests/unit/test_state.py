"""The state directory: who may read it, who may use it, and the administrator's token in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_fakes import FakeIds
from nexus_wiring.state import StateDirectory, StateDirectoryFailed, StateDirectoryInUse


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "some" / "state")


@pytest.fixture
def held(state: StateDirectory) -> Iterator[StateDirectory]:
    lock = state.hold()
    yield state
    os.close(lock)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestHold:
    def test_the_directory_is_its_owners_alone(self, held: StateDirectory) -> None:
        assert mode(held.path) == 0o700
        assert mode(held.path / "lock") == 0o600

    def test_an_empty_or_used_directory_is_closed(self, state: StateDirectory) -> None:
        state.path.mkdir(parents=True)
        for _ in range(2):
            state.path.chmod(0o755)
            os.close(state.hold())
            assert mode(state.path) == 0o700
            state.database.touch()

    def test_a_directory_with_other_things_is_left_alone(self, state: StateDirectory) -> None:
        state.path.mkdir(parents=True)
        state.path.chmod(0o755)
        (state.path / "letters").mkdir()
        with pytest.raises(StateDirectoryFailed, match="holds other things"):
            state.hold()
        assert mode(state.path) == 0o755
        state.path.chmod(0o700)
        os.close(state.hold())

    def test_a_second_server_is_kept_out_until_the_first_has_ended(self, state: StateDirectory) -> None:
        lock = state.hold()
        with pytest.raises(StateDirectoryInUse):
            state.hold()
        os.close(lock)
        os.close(state.hold())

    def test_a_path_that_cannot_be_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StateDirectoryFailed):
            StateDirectory(tmp_path / "file").hold()
        with pytest.raises(StateDirectoryFailed):
            StateDirectory(tmp_path / "file" / "below").hold()


class TestAdministratorSecret:
    def test_the_first_start_writes_one(self, held: StateDirectory) -> None:
        secret = held.administrator_secret(FakeIds())
        assert held.admin_token.read_text() == f"{secret}\n"
        assert mode(held.admin_token) == 0o600
        assert {path.name for path in held.path.iterdir()} == {"admin-token", "lock"}

    def test_the_next_one_reads_it_and_closes_the_file(self, held: StateDirectory) -> None:
        ids = FakeIds()
        secret = held.administrator_secret(ids)
        held.admin_token.chmod(0o644)
        assert held.administrator_secret(ids) == secret
        assert mode(held.admin_token) == 0o600

    def test_a_deleted_file_means_a_new_one(self, held: StateDirectory) -> None:
        ids = FakeIds()
        secret = held.administrator_secret(ids)
        held.admin_token.unlink()
        assert held.administrator_secret(ids) != secret

    def test_a_half_written_file_of_a_crash_is_replaced(self, held: StateDirectory) -> None:
        (held.path / "admin-token.new").write_text("nxs_ha")
        assert held.administrator_secret(FakeIds()) in held.admin_token.read_text()

    @pytest.mark.parametrize("content", [b"", b"nxs_short", b"ghp_" + b"x" * 50, b"nxs_\xff"])
    def test_anything_else_in_the_file_is_not_taken(self, held: StateDirectory, content: bytes) -> None:
        held.admin_token.write_bytes(content)
        with pytest.raises(StateDirectoryFailed) as caught:
            held.administrator_secret(FakeIds())
        assert content.decode(errors="replace") not in str(caught.value) or not content

    def test_a_file_that_cannot_be_written(self, held: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(StateDirectoryFailed, match="No space left"):
            held.administrator_secret(FakeIds())
        assert not held.admin_token.exists()

    def test_a_file_that_cannot_be_read(self, held: StateDirectory) -> None:
        held.admin_token.mkdir()
        with pytest.raises(StateDirectoryFailed, match="cannot be read"):
            held.administrator_secret(FakeIds())


class TestDatabaseKey:
    def test_one_that_is_not_there_may_be_asked_for_without_making_it(self, held: StateDirectory) -> None:
        assert held.present_key() is None
        assert not held.key_file.exists()
        made = held.database_key()
        assert held.present_key() == made

    def test_it_may_be_put_into_the_directory_before_all_else(self, tmp_path: Path) -> None:
        """As one does on a new machine, before a backup is restored."""
        state = StateDirectory(tmp_path / "state")
        state.path.mkdir(mode=0o755)
        state.key_file.write_text("00" * 32)
        os.close(state.hold())
        assert mode(state.path) == 0o700

    def test_it_is_made_once_and_for_its_owner_alone(self, held: StateDirectory) -> None:
        key = held.database_key()
        assert len(key) == 32
        assert held.database_key() == key
        assert mode(held.path / "database-key") == 0o600
        (held.path / "database-key").chmod(0o644)
        held.database_key()
        assert mode(held.path / "database-key") == 0o600

    @pytest.mark.parametrize("text", ["", "abcd", "not hex", "ü" * 64])
    def test_a_file_that_holds_no_key_is_refused_and_kept(self, held: StateDirectory, text: str) -> None:
        (held.path / "database-key").write_text(text)
        with pytest.raises(StateDirectoryFailed):
            held.database_key()
        assert (held.path / "database-key").read_text() == text

    def test_a_directory_that_cannot_be_written_is_said(self, held: StateDirectory) -> None:
        (held.path / "database-key.new").mkdir()
        with pytest.raises(StateDirectoryFailed, match="cannot be written"):
            held.database_key()
