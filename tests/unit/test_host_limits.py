"""What the host must allow: found where it does not, and raised as root."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from nexus_core.domain.finding import Finding, Verdict
from nexus_fakes import FakeClock
from nexus_host.limits import LIMITS, HostExaminer

INOTIFY = "fs.inotify.max_user_instances"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc whose limits are all as needed, and root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for limit, least in LIMITS.items():
        set_limit(tmp_path, limit, least)
    (tmp_path / "lxcfs/proc").mkdir(parents=True)
    (tmp_path / "lxcfs/proc/meminfo").touch()
    return tmp_path


def set_limit(proc: Path, limit: str, value: int) -> str:
    setting = proc / "sys" / limit.replace(".", "/")
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text(f"{value}\n")
    return limit


def examiner(proc: Path, *written: Path) -> HostExaminer:
    return HostExaminer(clock=FakeClock(), written=written, proc=proc, lxcfs=(proc / "snap", proc / "lxcfs"))


async def found(proc: Path, *written: Path) -> list[Finding]:
    """What is not well."""
    return [one for one in await examiner(proc, *written).examine() if one.verdict is not Verdict.OK]


class TestHostExaminer(ExaminerContract):
    @pytest.fixture
    def stage(self, proc: Path) -> ExaminerStage:
        return ExaminerStage(examiner(proc), lambda: set_limit(proc, INOTIFY, 128))

    async def test_a_limit_that_is_too_low(self, proc: Path) -> None:
        set_limit(proc, INOTIFY, 128)
        (finding,) = await found(proc)
        assert finding.verdict is Verdict.FAILURE
        assert finding.says.startswith("is 128, and 8192 are needed: the thirteenth workspace")
        assert f"`sysctl -w {INOTIFY}=8192`" in finding.fix
        await examiner(proc).mend(finding)
        assert (proc / "sys/fs/inotify/max_user_instances").read_text() == "8192\n"

    async def test_who_is_not_root_raises_none(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        set_limit(proc, INOTIFY, 128)
        (finding,) = await found(proc)
        assert finding.mend is None

    async def test_a_limit_that_this_kernel_does_not_have_is_not_missed(self, proc: Path) -> None:
        (proc / "sys/kernel/keys/maxkeys").unlink()
        assert await found(proc) == []

    async def test_a_limit_that_cannot_be_read(self, proc: Path) -> None:
        (proc / "sys/kernel/keys/maxkeys").write_text("many")
        (finding,) = await found(proc)
        assert (finding.subject, finding.verdict) == ("kernel.keys.maxkeys", Verdict.WARNING)

    async def test_a_limit_that_cannot_be_raised(self, proc: Path) -> None:
        set_limit(proc, INOTIFY, 128)
        (finding,) = await found(proc)
        setting = proc / "sys/fs/inotify/max_user_instances"
        setting.unlink()
        setting.mkdir()  # which no kernel would do; root may write to any file
        mended = await examiner(proc).mend(finding)
        assert mended.verdict is Verdict.FAILURE
        assert mended.fix == finding.fix

    async def test_lxcfs_is_missed(self, proc: Path) -> None:
        (proc / "lxcfs/proc/meminfo").unlink()
        (finding,) = await found(proc)
        assert (finding.subject, finding.verdict) == ("lxcfs", Verdict.WARNING)

    async def test_a_clock_that_was_set_back(self, proc: Path) -> None:
        file, gone = proc / "nexus.db", proc / "gone"
        file.touch()
        now = FakeClock().now().timestamp()
        os.utime(file, (now, now))
        assert await found(proc, file, gone) == []
        os.utime(file, (now + 3600, now + 3600))
        (finding,) = await found(proc, gone, file)
        assert (finding.subject, finding.verdict) == ("clock", Verdict.WARNING)
        assert "files were written 3600 s later" in finding.says

    @pytest.mark.parametrize(
        ("hard", "verdict"), [(1024, Verdict.WARNING), (20000, Verdict.OK), (resource.RLIM_INFINITY, Verdict.OK)]
    )
    async def test_open_files(self, proc: Path, monkeypatch: pytest.MonkeyPatch, hard: int, verdict: Verdict) -> None:
        def limits(_: int) -> tuple[int, int]:
            return 1024, hard

        monkeypatch.setattr(resource, "getrlimit", limits)
        (finding,) = [one for one in await examiner(proc).examine() if one.subject == "open files"]
        assert finding.verdict is verdict


def test_the_limits_are_those_that_the_set_up_sets() -> None:
    script = (ROOT / "scripts/setup-host").read_text()
    wanted = re.search(r"^limits=\(\n(.*?)^\)", script, re.MULTILINE | re.DOTALL)
    assert wanted is not None
    assert {key: int(value) for key, value in (one.split("=") for one in wanted[1].split())} == dict(LIMITS)
