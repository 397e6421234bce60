"""Open ssh sessions that count aloud: they end when their workspace is stopped or harmed, and for nothing else."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import measure

from chaos.ledger import Asked
from chaos.outside import running
from chaos.world import World

_MOST = 4
_STALLED = 20.0  # seconds without a count, on a loaded machine
_COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"


@dataclass
class Session:
    """One ssh client and the file that it counts into."""

    asked: Asked
    began: float
    output: Path
    process: subprocess.Popen[bytes]

    @property
    def is_open(self) -> bool:
        return self.process.poll() is None

    def counted(self) -> list[int]:
        """Every number that came; the last line may be on its way."""
        return [int(line) for line in self.output.read_text(encoding="ascii").split("\n")[:-1]]


class Sessions:
    """Keeps a few sessions open in running workspaces, and asks for a reason when one ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.random("sessions")
        self._open: list[Session] = []
        self._number = 0
        self.kept = 0  # sessions that were seen alive at a check
        self.ended = 0  # sessions that ended for a reason

    def work(self, pause: threading.Event) -> None:
        """Open new ones until paused."""
        while not pause.wait(1.0):
            self.check()
            if len(self._open) < _MOST:
                self._try_one()

    def check(self) -> None:
        """Look after each; one that ended or stalled without a reason is a finding."""
        for one in list(self._open):
            stalled = time.time() - one.output.stat().st_mtime > _STALLED
            numbers = one.counted()
            if numbers != list(range(1, len(numbers) + 1)):
                self._world.journal.finding(f"the session in {one.asked.name} lost a count: {numbers[-5:]}")
            if one.is_open and not stalled:
                self.kept += 1
                continue
            if self._has_reason(one):
                self.ended += 1
            else:
                how = f"ended with exit code {one.process.poll()}" if not one.is_open else "stalled"
                self._world.journal.finding(
                    f"the session in {one.asked.name} ({one.asked.id}) {how} after {len(numbers)} counts"
                )
            self._end(one)

    def close(self) -> None:
        """End them all."""
        for one in list(self._open):
            self._end(one)

    def _has_reason(self, session: Session) -> bool:
        asked, began = session.asked, session.began
        cut = any(moment >= began - 1 for moment in self._world.ledger.cuts)
        return cut or asked.was_asked("stop", "delete", since=began) or asked.was_harmed(began - 1)

    def _end(self, session: Session) -> None:
        session.process.kill()
        session.process.wait()
        self._open.remove(session)

    def _try_one(self) -> None:
        taken = {one.asked.id for one in self._open}
        free = [one for one in running(self._world) if one["id"] not in taken]
        workspace = self._rng.choice(free) if free else None
        asked = None if workspace is None else self._world.ledger.find(workspace["id"])
        if asked is None or workspace is None:
            return
        self._number += 1
        where = {"host": "127.0.0.1", "port": workspace["ssh_port"], "host_key": workspace["host_key"], "user": "dev"}
        known_hosts = self._world.folder / f"known_hosts.session-{self._number}"
        key = self._world.ledger.people[asked.owner].keys[-1]
        output = self._world.folder / f"session-{self._number}"
        began = time.time()
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*measure.ssh_arguments({"ssh": where}, key, known_hosts), _COUNT],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        session = Session(asked, began, output, process)
        self._open.append(session)
        # One that does not get in is no session: the workspace, or the key, may just have been changed.
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and session.is_open and not output.stat().st_size:
            time.sleep(0.05)
        if not output.stat().st_size:
            self._end(session)
            return
        self._world.journal.note("sessions", "opened", workspace=asked.id, number=self._number)
