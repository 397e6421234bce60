"""Telling what is wrong with a file: all of it at once, each problem with its line and key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NoReturn

from nexus_config.tree import Entry, shortened
from nexus_core.errors import InvalidConfig

MOST_TOLD: Final = 10
_MOST_FOUND: Final = 200  # a file with more is something else altogether, and is not read on
_MOST_NOTES: Final = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that has to be corrected; ``key`` is the way to it from the top, dots between."""

    line: int
    key: str
    message: str

    def told(self, file: str) -> str:
        """The problem as one line."""
        where = f"{file}, line {self.line}, {self.key}" if self.key else f"{file}, line {self.line}"
        return f"{where}: {self.message}"


@dataclass(slots=True)
class Report:
    """What was found in one file while it was read: problems, and notes on what is not used."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    _notes: dict[str, None] = field(default_factory=dict)

    def refuse(self, line: int, key: str, message: str) -> None:
        """Remember a problem. Raises `InvalidConfig` once there are so many that reading on is of no use."""
        self.problems.append(Problem(line, key, message))
        if len(self.problems) >= _MOST_FOUND:
            raise self.failure()

    def stop(self, line: int, message: str, *, key: str = "") -> NoReturn:
        """Raise `InvalidConfig` for a problem after which nothing more can be read."""
        self.refuse(line, key, message)
        raise self.failure()

    def note(self, text: str) -> None:
        """Tell the owner that something of the file is not used."""
        self._notes[text] = None

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes, each once; of very many the first ones and how many there are."""
        notes = tuple(self._notes)
        more = len(notes) - _MOST_NOTES
        return notes if more <= 0 else (*notes[:_MOST_NOTES], f"{self.file}: {more} more things are not used.")

    def failure(self) -> InvalidConfig:
        """The problems as the error to raise, in the order of the file."""
        problems = sorted(dict.fromkeys(self.problems), key=lambda one: one.line)
        lines = [one.told(self.file) for one in problems[:MOST_TOLD]]
        if len(problems) > MOST_TOLD:
            lines.append(f"and {len(problems) - MOST_TOLD} more" if len(problems) < _MOST_FOUND else "and many more")
        return InvalidConfig(
            f"{self.file} cannot be understood",
            why="\n".join(lines),
            details={
                "file": self.file,
                "problems": [
                    {"line": one.line, "key": one.key, "message": one.message} for one in problems[:MOST_TOLD]
                ],
            },
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file a value is: the way to it, and the line of its key."""

    report: Report
    key: str = ""
    line: int = 1

    def below(self, entry: Entry) -> Place:
        """The place of one of a mapping's entries."""
        name = shortened(entry.key)
        return Place(self.report, f"{self.key}.{name}" if self.key else name, entry.line)

    def item(self, index: int, line: int) -> Place:
        """The place of one of a list's items."""
        return Place(self.report, f"{self.key}[{index}]", line)

    def refuse(self, message: str) -> None:
        """Remember that the value here has to be corrected."""
        self.report.refuse(self.line, self.key, message)

    def note(self, text: str) -> None:
        """Tell the owner that what is here is not used, in a clause that begins with the verb."""
        self.report.note(f"{self.report.file}: {self.key} {text}.")
