"""How far a workspace is, on standard error: live on a terminal, a line for each finished step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nexus_cli.following import View
from nexus_cli.screen import console, note, status_style, visible
from nexus_cli.words import duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_MARKS = {"done": "✓", "failed": "✗", "cancelled": "-", "pending": "·"}
_FINISHED = frozenset({"done", "failed", "cancelled"})


@contextmanager
def view(name: str, *, as_json: bool) -> Generator[View]:
    """The view that suits where standard error goes; live ones end with the block."""
    error = console(error=True)
    if as_json:
        yield Silence()
    elif error.is_terminal:
        from rich.live import Live

        with Live(console=error, refresh_per_second=10) as live:
            yield LiveSteps(name, live)
    else:
        yield PlainSteps(name)


class Silence:
    """Shows nothing."""

    def update(self, workspace: dict[str, Any]) -> None:
        """Nothing is shown."""

    def away(self, seconds: float) -> None:
        """Nothing is shown."""


class PlainSteps:
    """A line for each step that has ended, and one whenever the queue moves."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()
        self._place: int | None = None
        self._away = False

    def update(self, workspace: dict[str, Any]) -> None:
        """Write down what is new."""
        self._away = False
        place = workspace["queue_position"]
        if place is not None and place != self._place:
            note(f"{self._name} waits for its turn, place {place} in the queue", style="")
        self._place = place
        for step in workspace["progress"]:
            if step["status"] in _FINISHED and step["step"] not in self._told:
                self._told.add(step["step"])
                note(f"{step['step']} {step['status']} {duration(step['duration_ms'])}".rstrip(), style="")

    def away(self, seconds: float) -> None:
        """Say so once."""
        if not self._away:
            note("the server does not answer; waiting for it to come back")
        self._away = True


class LiveSteps:
    """Every step with its state and time, redrawn in place; the running one counts up by itself."""

    def __init__(self, name: str, live: Live) -> None:
        from rich.spinner import Spinner

        self._name = name
        self._live = live
        self._spinner = Spinner("dots")
        self._began: dict[str, float] = {}
        self._last: dict[str, Any] | None = None
        self._remark = ""

    def update(self, workspace: dict[str, Any]) -> None:
        """Draw the workspace as it is now."""
        self._last, self._remark = workspace, ""
        self._live.update(self, refresh=True)

    def away(self, seconds: float) -> None:
        """Draw the last that was known, and since when nothing is."""
        if self._last is not None:
            self._remark = f"the server has not answered for {seconds:.0f} s"
            self._live.update(self, refresh=True)

    def __rich__(self) -> Table | str:
        """What is drawn, again and again while nothing new is known."""
        return "" if self._last is None else self._drawn(self._last, self._remark)

    def _drawn(self, workspace: dict[str, Any], remark: str) -> Table:
        from rich.table import Table
        from rich.text import Text

        place = workspace["queue_position"]
        if place is not None:
            remark = remark or f"waits for its turn, place {place} in the queue"
        status = workspace["status"]
        title = Text.assemble(visible(self._name), " ", (visible(status), status_style(status)))
        if remark:
            title.append(f"  {remark}", style="yellow")
        steps = Table.grid(padding=(0, 1))
        steps.add_row("", title)
        for step in workspace["progress"]:
            name, state = step["step"], step["status"]
            if state == "skipped":
                continue
            mark = self._spinner if state == "running" else Text(_MARKS.get(state, "?"), status_style(state))
            words = Text(visible(name.replace("_", " ")), "" if state != "pending" else "dim")
            steps.add_row(mark, words, Text(self._time(step), "dim"))
        return steps

    def _time(self, step: dict[str, Any]) -> str:
        if step["status"] != "running":
            return duration(step["duration_ms"])
        # By our own clock: the server's may be set differently.
        began = self._began.setdefault(step["step"], time.monotonic())
        seconds = time.monotonic() - began
        return f"{seconds:.0f} s" if seconds >= 1 else ""
