"""Looking at everything that Nexus stands on, and mending what is safe to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nexus_core.domain.finding import Area, Finding, Verdict
from nexus_core.engine.deadline import within
from nexus_core.ports.clock import Clock
from nexus_core.ports.examiner import Examiner

EXAMINATION: Final = 120.0
MENDING: Final = 180.0
"""Seconds after which an examiner is taken for stuck; it has shorter limits of its own."""

_DOCTOR: Final = Area("doctor")
_REPORT: Final = "This is a fault of Nexus: please report it."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How everything fares at the end, and what was mended or tried in vain before."""

    findings: Sequence[Finding]
    mended: Sequence[Finding] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return self.count(Verdict.FAILURE) == 0

    def count(self, verdict: Verdict) -> int:
        """How many findings have this verdict."""
        return sum(one.verdict is verdict for one in self.findings)


class Examine:
    """Asks every examiner at once and answers their findings in the examiners' order; raises nothing."""

    def __init__(self, *, examiners: Sequence[Examiner], clock: Clock) -> None:
        self._examiners = examiners
        self._clock = clock

    async def __call__(self, *, mend: bool = False) -> Diagnosis:
        """How everything fares; with ``mend``, after mending what can be mended, each thing once."""
        found = await self._look()
        mended: list[Finding] = []
        tried: set[Finding] = set()
        # Again and again: what is mended may let more be seen, as a bridge that is back and its settings.
        while mend and (left := [pair for pair in found if pair[1].mend is not None and pair[1] not in tried]):
            for examiner, finding in left:
                tried.add(finding)
                mended.append(await self._mend(examiner, finding))
            found = await self._look()
        return Diagnosis([finding for _, finding in found], mended)

    async def _look(self) -> list[tuple[Examiner, Finding]]:
        found = await asyncio.gather(*map(self._examined, self._examiners))
        return [(examiner, one) for examiner, seen in zip(self._examiners, found, strict=True) for one in seen]

    async def _examined(self, examiner: Examiner) -> Sequence[Finding]:
        name = type(examiner).__name__
        try:
            return await within(self._clock, EXAMINATION, examiner.examine())
        except TimeoutError:
            return [_DOCTOR.failure(name, f"gave no answer within {EXAMINATION:g} seconds", _REPORT)]
        except Exception as error:  # whatever is wrong with one part must not hide how the others fare
            return [_DOCTOR.failure(name, f"broke off: {type(error).__name__}: {error}", _REPORT)]

    async def _mend(self, examiner: Examiner, finding: Finding) -> Finding:
        try:
            return await within(self._clock, MENDING, examiner.mend(finding))
        except TimeoutError:
            return finding.not_mended(f"could not be mended within {MENDING:g} seconds")
        except Exception as error:  # what cannot be mended must not keep the rest from being mended
            return finding.not_mended(f"could not be mended: {type(error).__name__}: {error}")
