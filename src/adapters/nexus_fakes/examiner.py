"""A part of the world that is well or not as a test says."""

from __future__ import annotations

from collections.abc import Sequence

from nexus_core.domain.finding import Finding
from nexus_core.ports.examiner import Examiner
from nexus_fakes.faults import Faults


class FakeExaminer(Examiner):
    """An `Examiner` that finds what it is given, and mends what has ``mend`` set; `faults` does the rest.

    ``reveals`` is found in the place of what was mended, as a thing that could not be seen before.
    """

    def __init__(self, *findings: Finding, reveals: Finding | None = None, faults: Faults | None = None) -> None:
        self.findings = list(findings)
        self.faults = faults or Faults()
        self._reveals = reveals

    async def examine(self) -> Sequence[Finding]:
        await self.faults.reached("examine")
        return list(self.findings)

    async def mend(self, finding: Finding) -> Finding:
        await self.faults.reached("mend")
        mended = finding.mended(f"{finding.subject} is mended")
        seen, self._reveals = self._reveals or mended, None
        self.findings = [seen if one == finding else one for one in self.findings]
        return mended
