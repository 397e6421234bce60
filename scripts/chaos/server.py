"""The server under trial: started, killed, asked to stop, and let die at a fault point."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import measure

_PATIENCE = 60.0


class DidNotStart(Exception):
    """The server ended, or did not answer, instead of coming up."""


class ServerProcess:
    """One state directory and port, and one process after another that serves them.

    Unlike `measure.start_server` it is content with a server that answers while LXD is away.
    """

    def __init__(self, state: Path, settings: dict[str, str]) -> None:
        self.state = state
        self.port = measure.free_port()
        self.lives: list[int] = []
        self.last_start = 0.0
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        state.mkdir(mode=0o700)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The administrator's."""
        return (self.state / "admin-token").read_text(encoding="ascii").strip()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self.lives[-1]

    def start(self, die_at: str | None = None) -> bool:
        """Start it and wait until it answers; whether it still lives, which with ``die_at`` it may not.

        Raises `DidNotStart` with the end of its log.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
        environment |= self._settings
        if die_at is not None:
            environment["NEXUS_DIE_AT"] = die_at
        with (self.state / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [measure.NEXUS, "serve", "--listen", f"127.0.0.1:{self.port}", "--state-dir", self.state],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.lives.append(self._process.pid)
        self.last_start = time.time()
        deadline = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                httpx.get(f"{self.url}/api/v1/health", timeout=5)
                return True
            time.sleep(0.05)
        if die_at is not None and self._process.poll() == -signal.SIGKILL:
            return False
        self.kill()
        tail = (self.state / "server.log").read_text(errors="replace").splitlines()[-5:]
        raise DidNotStart(" | ".join(tail))

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> float | None:
        """Ask it to stop; after how many seconds it did, or None if it had to be killed."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        return time.monotonic() - began

    def wait_for_death(self, patience: float) -> bool:
        """Whether it died by itself in this time."""
        if self._process is None:
            return True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        return not self.is_alive

    def figures(self) -> dict[str, int]:
        """Resident memory in MB, and open file descriptors; both 0 while it is dead."""
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
            resident = next(line for line in lines if line.startswith("VmRSS"))
            descriptors = sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())
            return {"memory_mb": int(resident.split()[1]) // 1024, "descriptors": descriptors}
        return {"memory_mb": 0, "descriptors": 0}
