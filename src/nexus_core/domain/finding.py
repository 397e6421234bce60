"""What an examination finds: one value for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from nexus_core.errors import NexusError


class Verdict(StrEnum):
    """How a thing that was looked at fares."""

    OK = "ok"
    WARNING = "warning"  # work goes on; somebody should know, or it could not be looked at
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing fares, and how it is mended.

    ``says`` is a clause without a full stop; ``fix`` is a sentence that says what to do, empty where
    there is nothing to. ``mend`` is set where the examiner that found it can mend it by itself and
    safely; its text means something to that examiner alone.
    """

    area: str
    subject: str
    verdict: Verdict
    says: str
    fix: str = ""
    mend: str | None = None

    def mended(self, says: str) -> Finding:
        """The finding once the thing is well."""
        return replace(self, verdict=Verdict.OK, says=says, fix="", mend=None)

    def not_mended(self, says: str, fix: str = "") -> Finding:
        """The finding where mending failed; what is to be done stays as it was unless it is given."""
        return replace(self, verdict=Verdict.FAILURE, says=says, fix=fix or self.fix, mend=None)


@dataclass(frozen=True, slots=True)
class Area:
    """Makes the findings of one area."""

    name: str

    def ok(self, subject: str, says: str) -> Finding:
        """A thing that is well."""
        return Finding(self.name, subject, Verdict.OK, says)

    def warning(self, subject: str, says: str, fix: str, mend: str | None = None) -> Finding:
        """A thing that somebody should know of, or that could not be looked at."""
        return Finding(self.name, subject, Verdict.WARNING, says, fix, mend)

    def failure(self, subject: str, says: str, fix: str, mend: str | None = None) -> Finding:
        """A thing that keeps Nexus from its work."""
        return Finding(self.name, subject, Verdict.FAILURE, says, fix, mend)


def said(error: NexusError) -> str:
    """What an error says, as a clause for a finding."""
    return f"{error.what}: {error.why.rstrip('.')}" if error.why else error.what
