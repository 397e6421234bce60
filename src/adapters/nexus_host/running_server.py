"""Whether a server runs on a state directory, and answers."""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nexus_core.domain.finding import Area, Finding
from nexus_core.ports.examiner import Examiner

_AREA: Final = Area("server")
_PATIENCE: Final = 4.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what a server listens on, to where it is asked
_START: Final = "Start it: `nexus serve`, or the unit that runs it."


class RunningServer:
    """The server that holds the lock of a state directory, seen from another process."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._was_refused = False

    def is_there(self) -> bool:
        """Whether a process other than this one holds the lock, or may hold it: `kept_away` did not get it."""
        return self._was_refused or self.process() is not None

    def process(self) -> int | None:
        """The id of the process that holds the lock, if it is another than this one.

        The lock is not taken to find that out: a server that starts at this very moment would take us for another.
        """
        try:
            inode = self._lock.stat().st_ino
            locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        for line in locks:
            # 12: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF; the device is not always the one that stat names.
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode) and int(words[4]) != os.getpid():
                return int(words[4]) if not self._is_free() else None
        return None

    @contextmanager
    def kept_away(self) -> Generator[None]:
        """Let no server start meanwhile, if none runs and one ever did; else this does nothing."""
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError as exc:
            self._was_refused = not isinstance(exc, FileNotFoundError)
            yield
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._was_refused = True  # also where the process is in a container, and not to be seen from here
            yield
        finally:
            os.close(lock)

    def _is_free(self) -> bool:
        """Whether the lock can be had after all: another file in another file system has the same number."""
        try:
            lock = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(lock)


class ServerExaminer(Examiner):
    """Looks whether the server runs and what its ``/health`` says; mends nothing."""

    def __init__(self, *, server: RunningServer, address: tuple[str, int]) -> None:
        host, self._port = address
        self._server = server
        self._host = _EVERYWHERE.get(host, host)

    async def examine(self) -> Sequence[Finding]:
        process = self._server.process()
        try:
            health = await asyncio.to_thread(self._health)
        except ConnectionRefusedError:
            health = None
        except (OSError, http.client.HTTPException, ValueError) as exc:
            return [_process(process), self._silent(str(exc) or type(exc).__name__)]
        if process is None and health is None:
            return [_process(None)]
        if process is None:
            says = f"at {self._where} answers, and it is not this state directory's"
            return [_process(None), _AREA.warning("health", says, "Name the directory it uses with --state-dir.")]
        if health is None:
            fix = "Give the settings that it was started with (--config, NEXUS_LISTEN); or it starts just now."
            return [_process(process), _AREA.warning("health", f"nobody listens at {self._where}", fix)]
        return [_process(process), self._said(health)]

    async def mend(self, finding: Finding) -> Finding:
        return finding.not_mended("cannot be mended from here")

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port}"

    def _health(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", "/api/v1/health")
            health = json.loads(connection.getresponse().read(65536))
        finally:
            connection.close()
        if not isinstance(health, dict) or "status" not in health:
            raise ValueError("another program answers there")
        return health

    def _silent(self, why: str) -> Finding:
        fix = "If it hangs, end its process and start it again: workspaces run on meanwhile."
        return _AREA.failure("health", f"no sound answer from {self._where}: {why}", fix)

    def _said(self, health: dict[str, Any]) -> Finding:
        status = health["status"]
        if status == "ok":
            return _AREA.ok("health", f"ok at {self._where}")
        if status == "degraded":
            return _AREA.warning("health", f"degraded at {self._where}: LXD is away", "See what is found of LXD.")
        return _AREA.failure("health", f"{status} at {self._where}", "See what is found of the database.")


def _process(process: int | None) -> Finding:
    if process is None:
        return _AREA.warning("process", "no server runs on this state directory", _START)
    return _AREA.ok("process", f"runs as process {process}")
