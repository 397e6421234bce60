"""Whether a server runs on a directory: seen from another process, without getting in its way."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nexus_core.domain.finding import Finding, Verdict
from nexus_host.running_server import RunningServer, ServerExaminer

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@contextmanager
def held(lock: Path) -> Generator[int]:
    """Another process holds the lock; its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate("\n")


@contextmanager
def answering(body: Any, status: int = 200) -> Generator[int]:
    """Something answers HTTP with this; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def examined(lock: Path, port: int, host: str = "0.0.0.0") -> dict[str, Finding]:  # noqa: S104  # as a setting may say
    found = await ServerExaminer(server=RunningServer(lock), address=(host, port)).examine()
    return {one.subject: one for one in found}


class TestRunningServer:
    def test_a_lock_that_nobody_holds(self, lock: Path) -> None:
        server = RunningServer(lock)
        assert not server.is_there()
        lock.touch()
        assert server.process() is None

    def test_a_lock_that_another_process_holds(self, lock: Path) -> None:
        with held(lock) as pid:
            assert RunningServer(lock).process() == pid
        assert not RunningServer(lock).is_there()

    def test_looking_takes_no_lock(self, lock: Path) -> None:
        with held(lock):
            RunningServer(lock).process()
        descriptor = os.open(lock, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not RunningServer(lock).is_there(), "this process is no other"
        os.close(descriptor)

    def test_a_server_is_kept_away(self, lock: Path) -> None:
        lock.touch()
        with RunningServer(lock).kept_away():
            descriptor = os.open(lock, os.O_RDWR)
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(descriptor)
        with held(lock):  # it may start again
            pass

    def test_a_server_that_is_there_cannot_be_kept_away(self, lock: Path) -> None:
        with held(lock), RunningServer(lock).kept_away():
            assert RunningServer(lock).is_there()

    def test_a_server_that_cannot_be_seen_from_here_is_there_once_it_keeps_its_lock(
        self, lock: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = RunningServer(lock)
        monkeypatch.setattr(server, "process", lambda: None)
        with held(lock), server.kept_away():
            assert server.is_there()

    def test_a_lock_that_may_not_be_had_may_be_anybodys(self, tmp_path: Path) -> None:
        server = RunningServer(tmp_path)  # a folder: nobody opens one for writing
        with server.kept_away():
            assert server.is_there()

    def test_nothing_is_made_where_no_server_ever_ran(self, lock: Path) -> None:
        with RunningServer(lock).kept_away():
            assert not lock.exists()


class TestServerExaminer:
    @pytest.fixture
    def running(self, lock: Path) -> Iterator[int]:
        with held(lock) as pid:
            yield pid

    async def test_none_runs(self, lock: Path) -> None:
        found = await examined(lock, free_port())
        assert list(found) == ["process"]
        assert found["process"].verdict is Verdict.WARNING

    @pytest.mark.parametrize(
        ("status", "code", "verdict"),
        [("ok", 200, Verdict.OK), ("degraded", 200, Verdict.WARNING), ("unavailable", 503, Verdict.FAILURE)],
    )
    async def test_it_says_how_it_is(self, lock: Path, running: int, status: str, code: int, verdict: Verdict) -> None:
        with answering({"status": status}, code) as port:
            found = await examined(lock, port)
        assert found["process"].says == f"runs as process {running}"
        assert found["health"].verdict is verdict
        assert found["health"].says.startswith(f"{status} at 127.0.0.1:{port}")

    async def test_it_listens_elsewhere(self, lock: Path, running: int) -> None:
        found = await examined(lock, free_port())
        assert found["health"].verdict is Verdict.WARNING
        assert "nobody listens" in found["health"].says

    async def test_another_directorys_server_answers(self, lock: Path) -> None:
        with answering({"status": "ok"}) as port:
            found = await examined(lock, port)
        assert found["health"].verdict is Verdict.WARNING
        assert "not this state directory's" in found["health"].says

    @pytest.mark.parametrize("body", [[], {"hello": "world"}])
    async def test_another_program_answers(self, lock: Path, running: int, body: object) -> None:
        with answering(body) as port:
            found = await examined(lock, port)
        assert found["health"].verdict is Verdict.FAILURE
        assert "another program" in found["health"].says

    async def test_it_mends_nothing(self, lock: Path) -> None:
        examiner = ServerExaminer(server=RunningServer(lock), address=("127.0.0.1", 1))
        (finding,) = await examiner.examine()
        assert finding.mend is None
        assert (await examiner.mend(finding)).verdict is Verdict.FAILURE
