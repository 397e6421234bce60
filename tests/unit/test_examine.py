"""Looking at everything, whatever becomes of one part, and mending what can be mended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from nexus_core.domain.finding import Area, Finding, Verdict, said
from nexus_core.errors import ProviderFailed
from nexus_core.usecases.examine import EXAMINATION, MENDING, Examine
from nexus_fakes import FakeClock, FakeExaminer, Faults

AREA = Area("roof")
WELL = AREA.ok("tiles", "all there")
LEAK = AREA.failure("gutter", "leaks", "Call a plumber.", mend="solder")
DRAFT = AREA.warning("window", "lets a draft in", "Close it.")


class TestFakeExaminer(ExaminerContract):
    @pytest.fixture
    def stage(self) -> ExaminerStage:
        examiner = FakeExaminer(WELL)

        def spoil() -> str:
            examiner.findings = [LEAK]
            return LEAK.subject

        return ExaminerStage(examiner, spoil)


def examine(*examiners: FakeExaminer, clock: FakeClock | None = None) -> Examine:
    return Examine(examiners=examiners, clock=clock or FakeClock())


def break_off(faults: Faults, method: str, error: Exception | None) -> None:
    """Let the next call fail with this, or without one hang."""
    if error is None:
        faults.hang(method)
    else:
        faults.fail(method, error)


async def test_findings_come_in_the_examiners_order() -> None:
    diagnosis = await examine(FakeExaminer(WELL, DRAFT), FakeExaminer(LEAK))()

    assert list(diagnosis.findings) == [WELL, DRAFT, LEAK]
    assert [diagnosis.count(verdict) for verdict in Verdict] == [1, 1, 1]
    assert not diagnosis.is_well
    assert list(diagnosis.mended) == []


async def test_warnings_do_not_make_it_unwell() -> None:
    assert (await examine(FakeExaminer(DRAFT))()).is_well


async def test_nothing_is_mended_unasked() -> None:
    examiner = FakeExaminer(LEAK)
    await examine(examiner)()
    assert examiner.faults.calls == ["examine"]


async def test_what_is_mended_is_said_and_looked_at_again() -> None:
    examiner = FakeExaminer(WELL, LEAK)

    diagnosis = await examine(examiner)(mend=True)

    assert [one.says for one in diagnosis.mended] == ["gutter is mended"]
    assert diagnosis.is_well
    assert examiner.faults.calls == ["examine", "mend", "examine"]


async def test_what_shows_behind_what_was_mended_is_mended_too() -> None:
    hidden = replace(LEAK, subject="beam")

    diagnosis = await examine(FakeExaminer(LEAK, reveals=hidden))(mend=True)

    assert [one.subject for one in diagnosis.mended] == ["gutter", "beam"]
    assert diagnosis.is_well


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("no solder"), "OSError: no solder"),
        (None, f"within {MENDING:g} seconds"),
    ],
)
async def test_what_cannot_be_mended_is_tried_once(error: Exception | None, says: str) -> None:
    clock, faults = FakeClock(), Faults()
    break_off(faults, "mend", error)
    broken, other = FakeExaminer(LEAK, faults=faults), FakeExaminer(replace(LEAK, subject="door"))

    running = asyncio.create_task(examine(broken, other, clock=clock)(mend=True))
    await clock.advance(MENDING + 1)
    diagnosis = await running

    gutter, door = diagnosis.mended
    assert (gutter.verdict, gutter.fix, door.verdict) == (Verdict.FAILURE, LEAK.fix, Verdict.OK)
    assert says in gutter.says
    assert faults.count("mend") == 1
    assert not diagnosis.is_well


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("dark"), "ValueError: dark"),
        (None, f"within {EXAMINATION:g} seconds"),
    ],
)
async def test_an_examiner_that_breaks_hides_no_other(error: Exception | None, says: str) -> None:
    clock, faults = FakeClock(), Faults()
    break_off(faults, "examine", error)

    running = asyncio.create_task(examine(FakeExaminer(faults=faults), FakeExaminer(WELL), clock=clock)())
    await clock.advance(EXAMINATION + 1)
    broken, well = (await running).findings

    assert (broken.subject, broken.verdict, well) == ("FakeExaminer", Verdict.FAILURE, WELL)
    assert says in broken.says


def test_an_error_as_a_clause() -> None:
    assert said(ProviderFailed("It broke", why="It is old.")) == "It broke: It is old"
    assert said(ProviderFailed("It broke")) == "It broke"


def test_what_is_not_mended_may_need_another_fix() -> None:
    assert LEAK.not_mended("still leaks", "Move out.") == Finding(
        "roof", "gutter", Verdict.FAILURE, "still leaks", "Move out."
    )
