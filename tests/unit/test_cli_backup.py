"""``nexus backup`` and ``nexus restore``: what is said of files that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_cli.main import main


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEXUS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("NEXUS_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["backup", "-"], 2, "cannot go to standard output"),
        (["backup", "--forse"], 2, "There is no option --forse"),
        (["backup", "missing/file"], 2, "There is no folder"),
        (["backup", "."], 2, "is not a file"),
        (["backup", "/dev/null", "--force"], 2, "is not a file"),
        (["backup", "there"], 6, "is there already"),
        (["backup", "file"], 1, "There is no database"),
        (["backup", "file", "--config", "none.toml"], 2, "cannot be read"),
        (["restore", "missing"], 2, "It is not there"),
        (["restore", "."], 2, "It is not a file"),
        (["restore", "there"], 1, "The database is empty"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_made(
    state: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    (state.parent / "there").touch()
    assert main(words) == code
    written = capsys.readouterr()
    assert said in written.err
    assert "fix: " in written.err
    assert written.out == ""
    assert {file.name for file in state.parent.iterdir()} <= {"there", "state"}
    assert not (state / "nexus.db").exists()
