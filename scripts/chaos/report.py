"""What people see of a trial: the progress, the points, the table, and how to repeat it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from measure import say

if TYPE_CHECKING:
    from chaos.course import Course, Plan
    from chaos.points import Passed
    from chaos.world import World

_SHOWN = 40


def begins(plan: Plan, folder: Path) -> None:
    """How long it takes, and what would repeat it."""
    say(f"seed {plan.seed}, {plan.seconds / 60:g} minutes of faults, {plan.clients} clients; everything is in {folder}")


def points_begin() -> None:
    """The head of the table of fault points."""
    say(f"\n{'the server died at':<40} after")


def point(one: Passed) -> None:
    """One line a fault point."""
    say(f"{one.point:<40} {one.seconds:5.1f} s" + ("" if one.died else "  did not come by"))


def progress(world: World, seconds: float) -> None:
    """One line with counts."""
    with world.database() as database:
        rows = database.execute("SELECT status, count(*) FROM workspaces GROUP BY status ORDER BY status").fetchall()
    statuses = ", ".join(f"{count} {status}" for status, count in rows)
    journal = world.journal
    say(
        f"{time.strftime('%H:%M:%S')} {seconds:5.0f} s  {journal.actions.total()} requests, "
        f"{journal.faults.total()} faults, {len(journal.findings)} findings; {statuses}"
    )


def verdict(when: str, wrong: list[str], figures: dict[str, int]) -> None:
    """The outcome of one look from outside."""
    outcome = "clean" if not wrong else "; ".join(wrong)
    say(f"  {when}: {outcome} ({figures['memory_mb']} MB, {figures['descriptors']} descriptors)")


def ends(world: World, plan: Plan, course: Course) -> None:
    """The table, and the verdict of it all."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (what, outcome), count in world.journal.actions.items():
        outcomes[what][outcome] += count
    say(f"\n{'action':<16} {'times':>6} {'slowest':>9}  answers")
    for what, answers in sorted(outcomes.items()):
        told = ", ".join(f"{count} x {outcome}" for outcome, count in answers.most_common())
        say(f"{what:<16} {answers.total():>6} {world.journal.slowest[what] / 1000:>7.1f} s  {told}")
    say(f"\n{'fault':<36} times")
    for what, count in sorted(world.journal.faults.items()):
        say(f"{what:<36} {count:>5}")
    say(f"{'the server died at a named point':<36} {sum(one.died for one in course.points):>5}")
    sessions, follower = course.sessions, course.follower
    say(
        f"\nssh sessions: {sessions.kept} times seen alive, {sessions.ended} ended for a reason; "
        f"events: {follower.told} told over {follower.connections} connections"
    )
    if course.figures:
        first, last = course.figures[0], course.figures[-1]
        say(
            f"the server: {len(world.server.lives)} lives; {first['memory_mb']} MB and {first['descriptors']} "
            f"descriptors at first, {last['memory_mb']} MB and {last['descriptors']} at last"
        )
    findings = world.journal.findings
    say(f"\nverdict after {course.verdicts} looks from outside, seed {plan.seed}: " + (_count(findings) or "clean"))
    for text in findings[:_SHOWN]:
        say(f"  - {text}")


def keeps(plan: Plan, folder: Path) -> None:
    """Where to look, and how to repeat it."""
    repeat = f"make chaos SEED={plan.seed} MINUTES={plan.seconds / 60:g}"
    say(f"kept for a look: {folder} (journal.jsonl, state/server.log, state/nexus.db); again: {repeat}")


def _count(findings: list[str]) -> str:
    return f"{len(findings)} findings" if findings else ""
