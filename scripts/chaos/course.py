"""The whole trial, from the first server to the verdict."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chaos import outside, report
from chaos.clients import Client
from chaos.events import Follower
from chaos.faults import Faults
from chaos.points import Passed, Walk
from chaos.sessions import Sessions
from chaos.verdict import judge, settle
from chaos.world import World, world
from nexus_core.engine.fault_points import every

_CHECKPOINT = 75.0  # seconds of faults between two verdicts
_PROGRESS = 5.0
_JOINED = 150.0

Work = Callable[[threading.Event], None]


@dataclass(frozen=True)
class Plan:
    """How long, how many, and which points."""

    seed: int
    seconds: float
    clients: int = 5
    most: int = 10
    points: int | None = None  # so many of them, chosen by the seed; None: every one


def run(plan: Plan) -> bool:
    """Whether the verdict is clean; prints progress, tables and verdict, and keeps the folder if it is not."""
    folder = Path(tempfile.mkdtemp(prefix=f"nexus-chaos-{plan.seed}-"))
    folder.chmod(0o711)  # the users inside containers must get through to their file systems
    report.begins(plan, folder)
    with world(folder, plan.seed) as stage:
        course = Course(stage, plan)
        try:
            course.run()
        except Exception as error:  # the report is worth more than the trace alone
            stage.journal.finding(f"the trial itself broke off: {error!r}")
            raise
        finally:
            course.close()
            report.ends(stage, plan, course)
        is_clean = not stage.journal.findings
    if is_clean:
        shutil.rmtree(folder)
    else:
        report.keeps(plan, folder)
    return is_clean


class Course:
    """One trial under way, with all that takes part in it."""

    def __init__(self, stage: World, plan: Plan) -> None:
        self._world = stage
        self._plan = plan
        self._faults = Faults(stage)
        self._sessions = Sessions(stage)
        self._follower = Follower(stage)
        people = list(stage.ledger.people.values())
        self._clients = [
            Client(stage, number, people[number % len(people)], plan.most) for number in range(plan.clients)
        ]
        self._began = time.monotonic()
        self.points: list[Passed] = []
        self.verdicts = 0
        self.figures: list[dict[str, int]] = []

    @property
    def sessions(self) -> Sessions:
        return self._sessions

    @property
    def follower(self) -> Follower:
        return self._follower

    def run(self) -> None:
        """The points, then rounds of faults, each with a verdict after it."""
        self._follower.begin()
        self.figures.append(self._world.server.figures())
        self._walk()
        deadline = time.monotonic() + self._plan.seconds
        while (left := deadline - time.monotonic()) > 0:
            self._round(min(left, _CHECKPOINT))
        self._last_look()

    def close(self) -> None:
        """Let go of everything that was opened."""
        with ExitStack() as stack:
            for client in self._clients:
                stack.callback(client.close)
            stack.callback(self._follower.close)
            stack.callback(self._sessions.close)

    def _walk(self) -> None:
        chosen = every()
        if self._plan.points is not None:
            chosen = tuple(self._world.random("choice of points").sample(chosen, self._plan.points))
        walk = Walk(self._world, frozenset(chosen))
        try:
            report.points_begin()
            for one in walk():
                self.points.append(one)
                report.point(one)
        finally:
            walk.close()
        self._check("after the fault points")

    def _round(self, seconds: float) -> None:
        """Clients and faults side by side for so long, then a verdict."""
        calm, quiet = threading.Event(), threading.Event()
        hands = [self._faults.work_above, self._faults.work_below]
        people = [*(client.work for client in self._clients), self._sessions.work]
        harming, asking = _begun(hands, calm), _begun(people, quiet)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _PROGRESS))
            report.progress(self._world, time.monotonic() - self._began)
        # Faults end first: what is mended may still be asked for something.
        calm.set()
        self._joined(harming)
        quiet.set()
        self._joined(asking)
        self._check("checkpoint")

    def _joined(self, threads: list[threading.Thread]) -> None:
        for one in threads:
            one.join(_JOINED)
            if one.is_alive():
                self._world.journal.finding(f"{one.name} did not come to an end")

    def _check(self, when: str) -> None:
        self.verdicts += 1
        self._faults.mend_server()
        wrong = settle(self._world) or judge(self._world)
        self._sessions.check()
        wrong += self._follower.missing()
        self.figures.append(self._world.server.figures())
        for text in wrong:
            self._world.journal.finding(f"{when}: {text}")
        report.verdict(when, wrong, self.figures[-1])

    def _last_look(self) -> None:
        """Stop the server in order: none of its processes may be left."""
        self._sessions.close()
        if self._world.server.stop() is None:
            self._world.journal.finding("the server did not end within 60 s of SIGTERM")
        for command in outside.left_processes(self._world.server.lives):
            self._world.journal.finding(f"a process of the server was left over: {command}")


def _begun(works: Sequence[Work], pause: threading.Event) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(pause,), name=work.__qualname__, daemon=True) for work in works]
    for one in threads:
        one.start()
    return threads
