"""``nexus services``, ``logs``, ``forward`` and ``restart``."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_cli.harmless import Harmless
from stub_api import WS, Said, Shell, page, refusal, service, shell, summary

ALL = f"/workspaces/{WS}/services"
WEB = f"{ALL}/web"
PIECES = [b"one\n", b"gr\xc3", b"\xbcn\n"]

MADE = {
    "workspace_id": WS,
    "service": "web",
    "port": 3000,
    "mapped_port": 23005,
    "url": "http://localhost:23005",
    "created_at": "2026-01-17T10:30:00Z",
}


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


def listed(*services: dict[str, object]) -> dict[str, object]:
    return {"workspace_id": WS, "services": list(services)}


class TestServices:
    def test_a_table(self, sh: Shell) -> None:
        db = service(
            "db", status="error", health="unknown", mapped_port=None, url=None, error="It ended: 1\nlast\x1b[2J"
        )
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", ALL, listed(db, service(depends_on=["db", "api"])))
        outcome = sh("services", "web", "--owner", "alice")
        header, first, second, *below = outcome.out.splitlines()
        assert header.split() == ["SERVICE", "STATUS", "HEALTH", "PORT", "ADDRESS", "NEEDS", "CHECKED"]
        assert first.split()[:6] == ["db", "error", "unknown", "3000", "-", "-"]
        assert second.split()[:5] == ["web", "running", "healthy", "3000", "http://localhost:23000"]
        assert "db, api" in second
        assert second.endswith(" ago")
        assert below == ["db: It ended: 1", r"  last\x1b[2J"]
        assert sh.api.asked[0].query["owner"] == "alice"

    def test_a_worker_has_no_port(self, sh: Shell) -> None:
        sh.api.on("GET", ALL, listed(service("worker", port=None, mapped_port=None, url=None, last_check=None)))
        assert sh("services", WS).out.splitlines()[1].split()[3:] == ["-", "-", "-", "never"]

    def test_none(self, sh: Shell) -> None:
        sh.api.on("GET", ALL, listed())
        outcome = sh("services", WS)
        assert (outcome.code, outcome.out) == (0, "")
        assert "has no services" in outcome.err

    def test_json(self, sh: Shell) -> None:
        sh.api.on("GET", ALL, listed(service()))
        assert sh("services", WS, "--json").json == listed(service())


class TestForward:
    def test_a_given_port(self, sh: Shell) -> None:
        sh.api.on("POST", f"{WEB}/port-forward", Said(201, MADE))
        outcome = sh("forward", WS, "web", "--port", "23005")
        assert (outcome.code, outcome.out) == (0, "http://localhost:23005\n")
        assert "Port 23005 of the server leads to web, port 3000" in outcome.err
        assert sh.api.asked[0].body == {"mapped_port": 23005}

    def test_any_port(self, sh: Shell) -> None:
        sh.api.on("POST", f"{WEB}/port-forward", MADE)
        assert sh("forward", WS, "web", "--json").json == MADE
        assert sh.api.asked[0].body == {}

    def test_a_port_that_is_taken(self, sh: Shell) -> None:
        sh.api.on("POST", f"{WEB}/port-forward", refusal(409, "port_in_use", "It is bob's.", mapped_port=23005))
        outcome = sh("forward", WS, "web", "--port", "23005")
        assert (outcome.code, outcome.out) == (6, "")
        assert "port_in_use" in outcome.err

    def test_remove(self, sh: Shell) -> None:
        sh.api.on("DELETE", f"{WEB}/port-forward", Said(204))
        assert sh("forward", WS, "web", "--remove").out == "web is forwarded no more.\n"
        assert sh("forward", WS, "web", "--remove", "--json").out == ""

    def test_list(self, sh: Shell) -> None:
        inner = service("db", mapped_port=None, url=None)
        bare = service("udp", mapped_port=23001, url=None)
        sh.api.on("GET", ALL, listed(service(), inner, bare), listed(inner), listed(inner))
        _, first, second = sh("forward", WS).out.splitlines()
        assert first.split() == ["web", "3000", "http://localhost:23000"]
        assert second.split() == ["udp", "3000", "port", "23001"]
        outcome = sh("forward", WS)
        assert outcome.out == ""
        assert f"nexus forward {WS} SERVICE" in outcome.err
        assert sh("forward", WS, "--json").json == listed(inner)

    @pytest.mark.parametrize("argv", [["--remove"], ["--port", "23000"], ["web", "--remove", "--port", "23000"]])
    def test_what_does_not_go_together(self, sh: Shell, argv: list[str]) -> None:
        outcome = sh("forward", WS, *argv)
        assert outcome.code == 2
        assert sh.api.asked == []


class TestRestart:
    @pytest.fixture(autouse=True)
    def accepted(self, sh: Shell) -> None:
        sh.api.on("POST", f"{WEB}/restart", Said(202, {"workspace_id": WS, "service": "web", "status": "starting"}))

    def test_until_it_runs(self, sh: Shell) -> None:
        starting = listed(service("db"), service(status="starting"))
        sh.api.on("GET", ALL, starting, Said(hang_up=True), *[Said(hang_up=True)] * 5, starting, listed(service()))
        outcome = sh("restart", WS, "web")
        assert (outcome.code, outcome.out) == (0, "web is running: http://localhost:23000.\n")
        assert outcome.err.count("waiting for it to come back") == 1

    def test_of_a_worker(self, sh: Shell) -> None:
        sh.api.on("GET", ALL, listed(service(url=None)))
        assert sh("restart", WS, "web").out == "web is running.\n"

    def test_without_waiting(self, sh: Shell) -> None:
        assert sh("restart", WS, "web", "--no-wait").out == "web is starting.\n"
        assert sh("restart", WS, "web", "--no-wait", "--json").json["status"] == "starting"
        assert {one.method for one in sh.api.asked} == {"POST"}

    def test_json(self, sh: Shell) -> None:
        away = [Said(hang_up=True)] * 6
        sh.api.on("GET", ALL, *away, listed(service()))
        outcome = sh("restart", WS, "web", "--json")
        assert (outcome.code, outcome.json, outcome.err) == (0, service(), "")

    @pytest.mark.parametrize("status", ["error", "unhealthy", "stopped"])
    def test_it_does_not_come_up(self, sh: Shell, status: str) -> None:
        failed = service(status=status, error="It ended with 1:\nthe last line")
        sh.api.on("GET", ALL, listed(service(status="starting")), listed(failed))
        outcome = sh("restart", WS, "web")
        assert (outcome.code, outcome.out) == (1, "")
        for part in (
            f"web is {status}",
            "It ended with 1:",
            "the last line",
            f"`nexus logs {WS} web`",
            "service_failed",
        ):
            assert part in outcome.err
        outcome = sh("restart", WS, "web", "--json")
        assert (outcome.code, outcome.json) == (1, failed)

    def test_it_goes_away(self, sh: Shell) -> None:
        sh.api.on("GET", ALL, listed())
        outcome = sh("restart", WS, "web")
        assert outcome.code == 5
        assert "no service 'web' any more" in outcome.err

    def test_refused(self, sh: Shell) -> None:
        sh.api.on("POST", f"{ALL}/db/restart", refusal(404, "service_not_found", "There is none."))
        assert sh("restart", WS, "db").code == 5


class TestLogs:
    def test_of_a_service(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"{WEB}/logs", Said(pieces=PIECES))
        outcome = sh("logs", "web", "web")
        assert (outcome.code, outcome.out, outcome.err) == (0, "one\ngrün\n", "")
        assert sh.api.asked[-1].query == {"lines": "200", "follow": "false"}

    def test_of_set_up(self, sh: Shell) -> None:
        sh.api.on("GET", f"/workspaces/{WS}/logs", Said(pieces=[b"a\x1b]0;x\x07\r\n"]))
        outcome = sh("logs", WS, "-f", "-n", "5")
        assert outcome.out.encode() == b"a\x1b]0;x\x07\r\n"  # not a terminal: byte for byte
        assert sh.api.asked[-1].query == {"lines": "5", "follow": "true"}

    @pytest.mark.parametrize("length", [{}, {"Content-Length": "0"}])
    def test_nothing_yet(self, sh: Shell, length: dict[str, str]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}/logs", Said(200, None, {"Content-Type": "text/plain", **length}))
        outcome = sh("logs", WS)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")

    def test_on_a_terminal(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        sh.api.on(
            "GET", f"/workspaces/{WS}/logs", Said(pieces=[*PIECES, b"\x1b[31mred\x1b]0;x\x07\xff\r", b"\nend\xc3"])
        )
        assert sh("logs", WS).out == "one\ngrün\n\x1b[31mred\\x1b]0;x\\x07\\xff\nend\\xc3\x1b[0m"

    def test_refused(self, sh: Shell) -> None:
        gone = refusal(404, "service_not_found", "There is none.")
        sh.api.on("GET", f"{WEB}/logs", gone)
        outcome = sh("logs", WS, "web", "--json")
        assert (outcome.code, outcome.out) == (5, "")
        assert '"error": "service_not_found"' in outcome.err

    @pytest.mark.parametrize("answer", [Said(200, "<html>"), Said(302), Said(200, "x", {"Content-Type": "text/html"})])
    def test_another_program(self, sh: Shell, answer: Said) -> None:
        sh.api.on("GET", f"{WEB}/logs", answer)
        outcome = sh("logs", WS, "web")
        assert (outcome.code, outcome.out) == (3, "")

    def test_a_connection_that_breaks(self, sh: Shell) -> None:
        sh.api.on("GET", f"{WEB}/logs", Said(pieces=[b"one\n"], cut=True), Said(hang_up=True))
        outcome = sh("logs", WS, "web")
        assert (outcome.code, outcome.out) == (3, "one\n")
        assert "broke" in outcome.err
        assert sh("logs", WS, "web").code == 3

    def test_it_is_printed_as_it_comes_and_interrupted(self, sh: Shell) -> None:
        over = threading.Event()

        def pieces() -> Iterator[bytes]:
            yield b"first\n"
            over.wait(20)

        sh.api.on("GET", f"{WEB}/logs", Said(pieces=pieces()))
        with following() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                assert process.stdout.readline() == b"first\n"
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 130
            finally:
                over.set()
            assert (process.stdout.read(), process.stderr.read()) == (b"", b"")

    def test_a_reader_that_goes_away(self, sh: Shell) -> None:
        sh.api.on("GET", f"{WEB}/logs", Said(pieces=[b"x" * 79 + b"\n"] * 1000))
        with following() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(20) == 1


def following() -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "nexus_cli.main", "logs", WS, "web", "-f"]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})


class TestHarmless:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\tb\n", "a\tb\n"),
            ("1\u00a0000 \u202f€", "1\u00a0000 \u202f€"),
            ("\x1b[1;32mok\x1b[0m", "\x1b[1;32mok\x1b[0m"),
            ("\x1b[38:5:1mx", "\x1b[38:5:1mx\x1b[0m"),
            ("\x1b[2J\x1b[31", r"\x1b[2J\x1b[31"),
            ("\x9b31m\x00\x7f\u202e\u200b", r"\x9b31m\x00\x7f\u202e\u200b"),
            ("10 %\r20 %\r\r\nend\r", "10 %\n20 %\nend\n"),
            ("\x1b", r"\x1b"),
            ("\x1b[" + "1" * 100, r"\x1b[" + "1" * 100),
        ],
    )
    def test_however_it_is_cut(self, text: str, shown: str) -> None:
        for size in (1, 2, 3, len(text)):
            harmless, out = Harmless(), io.StringIO()
            for start in range(0, len(text), size):
                out.write(harmless.feed(text[start : start + size]))
            out.write(harmless.end())
            assert out.getvalue() == shown

    def test_what_is_whole_is_shown_at_once(self) -> None:
        harmless = Harmless()
        assert harmless.feed("prompt> ") == "prompt> "
        assert harmless.feed("\x1b[") == ""
        assert harmless.feed("0mx\r") == "\x1b[0mx"
        assert harmless.end() == "\n"
