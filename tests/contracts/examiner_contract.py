"""What every `Examiner` promises, by ports/examiner.py.

A test module of an adapter derives from `ExaminerContract` and gives it a fixture ``stage``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nexus_core.domain.finding import Finding, Verdict
from nexus_core.ports.examiner import Examiner


@dataclass(frozen=True)
class ExaminerStage:
    """An examiner of something that is well, and a way to spoil it so that it can mend it: answers the subject."""

    examiner: Examiner
    spoil: Callable[[], str]


class ExaminerContract:
    """Derive from it and provide ``stage``."""

    async def test_what_is_well_needs_nothing(self, stage: ExaminerStage) -> None:
        found = await stage.examiner.examine()

        assert found
        for one in found:
            assert one.says
            assert one.verdict is not Verdict.FAILURE, one
            assert one.mend is None

    async def test_what_is_not_well_says_what_to_do(self, stage: ExaminerStage) -> None:
        stage.spoil()

        for one in await stage.examiner.examine():
            assert (one.fix == "") == (one.verdict is Verdict.OK), one

    async def test_looking_changes_nothing(self, stage: ExaminerStage) -> None:
        subject = stage.spoil()

        first, second = await _mendable(stage, subject), await _mendable(stage, subject)

        assert first == second

    async def test_what_can_be_mended_is_mended(self, stage: ExaminerStage) -> None:
        finding = await _mendable(stage, stage.spoil())

        mended = await stage.examiner.mend(finding)

        assert (mended.area, mended.subject) == (finding.area, finding.subject)
        assert (mended.verdict, mended.fix, mended.mend) == (Verdict.OK, "", None)
        assert mended.says != finding.says
        assert finding not in await stage.examiner.examine()

    async def test_mending_what_is_well_by_now_is_fine(self, stage: ExaminerStage) -> None:
        finding = await _mendable(stage, stage.spoil())
        await stage.examiner.mend(finding)

        assert (await stage.examiner.mend(finding)).mend is None
        assert finding not in await stage.examiner.examine()


async def _mendable(stage: ExaminerStage, subject: str) -> Finding:
    (finding,) = [one for one in await stage.examiner.examine() if one.subject == subject]
    assert finding.mend is not None
    return finding
