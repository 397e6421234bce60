"""``nexus doctor`` on the terminal: lines and fixes, JSON, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from nexus_cli import doctor
from nexus_cli.main import main
from nexus_core.domain.finding import Area, Finding
from nexus_core.usecases.examine import Diagnosis
from nexus_wiring.container import Container

HOST, LXD = Area("host"), Area("lxd")
WELL = HOST.ok("clock", "right")
LOW = HOST.warning("disk", "nearly full", "Make room.")
DOWN = LXD.failure("bridge", "is down\x1b[2J", "`nexus doctor --fix`.", mend="bridge")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("NEXUS_CONFIG", raising=False)
    return Run(monkeypatch, tmp_path, capsys)


class Run:
    """The command, with a diagnosis that is known beforehand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._state = state
        self._capsys = capsys
        self.asked: list[tuple[Path, bool]] = []

    def __call__(self, *options: str, finds: Sequence[Finding], mended: Sequence[Finding] = ()) -> tuple[int, str]:
        async def diagnosed(container: Container, *, mend: bool) -> Diagnosis:
            self.asked.append((container.state().path, mend))
            return Diagnosis(finds, mended)

        self._monkeypatch.setattr(doctor, "_diagnosed", diagnosed)
        code = main(["doctor", "--state-dir", str(self._state), *options])
        return code, self._capsys.readouterr().out


def test_lines_are_grouped_and_aligned_and_a_fix_stands_below(run: Run, tmp_path: Path) -> None:
    code, out = run(finds=[WELL, DOWN, LOW])
    assert out.splitlines() == [
        "host",
        "  ok   clock  right",
        "  warn disk   nearly full",
        "       fix: Make room.",
        "lxd",
        r"  FAIL bridge  is down\x1b[2J",
        "       fix: `nexus doctor --fix`.",
        "",
        "1 ok, 1 warning, 1 failure; `nexus doctor --fix` mends 1 of them",
    ]
    assert code == 1
    assert run.asked == [(tmp_path, False)]


def test_warnings_alone_are_no_failure(run: Run) -> None:
    code, out = run(finds=[WELL, LOW])
    assert (code, out.splitlines()[-1]) == (0, "1 ok, 1 warning, 0 failure")


def test_what_was_mended_comes_first(run: Run, tmp_path: Path) -> None:
    code, out = run("--fix", finds=[WELL], mended=[DOWN.mended("is up"), LOW.not_mended("is still full")])
    assert out.splitlines()[:5] == [
        "mended",
        "  ok   lxd: bridge  is up",
        "  FAIL host: disk   is still full",
        "       fix: Make room.",
        "",
    ]
    assert (code, run.asked) == (0, [(tmp_path, True)])


def test_a_terminal_gets_signs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_for_people", lambda: True)
    _, out = run(finds=[WELL, LOW, DOWN])
    assert [line[:3].strip() for line in out.splitlines()[:6]] == ["hos", "✓", "!", "", "lxd", "✗"]
    assert "    fix: Make room." in out


def test_signs_are_for_terminals_that_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._is_for_people() is False
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert doctor._is_for_people() is True


def test_json(run: Run) -> None:
    code, out = run("--json", finds=[WELL, DOWN], mended=[LOW.mended("there is room")])
    assert code == 1
    said = json.loads(out)
    assert said.keys() == {"well", "counts", "mended", "findings"}
    assert (said["well"], said["counts"]) == (False, {"ok": 1, "warning": 0, "failure": 1})
    assert said["findings"][1] == {
        "area": "lxd",
        "subject": "bridge",
        "verdict": "failure",
        "says": "is down\x1b[2J",
        "fix": "`nexus doctor --fix`.",
        "mend": True,
    }
    assert said["mended"][0]["says"] == "there is room"


def test_a_variable_that_nobody_reads_is_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXUS_NONSENSE", "1")
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    _, out = run(finds=[WELL])
    assert "NEXUS_NONSENSE is no setting of Nexus and is ignored" in out


def test_settings_that_cannot_be_used(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(tmp_path / "none.toml"), "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"] == "invalid_settings"
