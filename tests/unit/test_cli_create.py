"""``nexus create`` and ``nexus start``: what is asked for, and how the way up is shown."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nexus_cli.api import Api
from nexus_cli.errors import Refused, ServerUnreachable
from nexus_cli.following import follow
from nexus_cli.progress import LiveSteps, PlainSteps, Silence, view
from nexus_cli.wire import parse_url
from stub_api import ACCEPTED, TOKEN, WS, Said, Shell, page, refusal, shell, step, summary, workspace

POLL = f"/workspaces/{WS}/status"
SSH = "ssh -p 2222 dev@staging.example.com\n"
UNDER_WAY = workspace(
    status="creating",
    ssh=None,
    progress=[step("create_instance"), step("wait_for_ssh", "running", None), step("run_setup", "skipped")],
)
FAILURE = {"code": "ssh_not_ready", "message": "Nothing answers.\nthe log's tail", "step": "wait_for_ssh"}
FAILED = workspace(status="error", error=FAILURE, progress=[step("create_instance"), step("wait_for_ssh", "failed")])


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


class TestCreate:
    def test_until_it_runs(self, sh: Shell) -> None:
        waiting = workspace(status="pending", ssh=None, queue_position=2, progress=[step("create_instance", "pending")])
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, waiting, waiting, UNDER_WAY, workspace())
        outcome = sh("create", "web")
        assert (outcome.code, outcome.out) == (0, SSH)
        waits, first, second, last = outcome.err.splitlines()
        assert waits == "web waits for its turn, place 2 in the queue"
        assert (first, second) == ("create_instance done 612 ms", "wait_for_ssh done 4.2 s")
        assert "nexus ssh web" in last
        assert sh.api.asked[0].body == {"workspace_name": "web"}
        assert len(sh.api.asked[0].headers["idempotency-key"]) == 32

    def test_with_everything(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        options = [
            "--user",
            "alice",
            "--image",
            "ubuntu:22.04",
            "--cpu",
            "4",
            "--memory",
            "8GiB",
            "--disk",
            "40GiB",
            "--no-wait",
        ]
        outcome = sh("create", "web", *options)
        assert outcome.out == f"web is creating: {WS}\n"
        assert "about 3 s" in outcome.err
        assert sh.api.asked[0].body == {
            "workspace_name": "web",
            "github_username": "alice",
            "image": "ubuntu:22.04",
            "resources": {"cpu": 4, "memory": "8GiB", "disk": "40GiB"},
        }

    def test_json(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, UNDER_WAY, workspace())
        assert sh("create", "web", "--json", "--no-wait").json == ACCEPTED
        outcome = sh("create", "web", "--json")
        assert (outcome.code, outcome.json, outcome.err) == (0, workspace(), "")

    def test_failure(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, UNDER_WAY, FAILED)
        outcome = sh("create", "web")
        assert (outcome.code, outcome.out) == (1, "")
        for part in (
            "wait_for_ssh failed 612 ms",
            "error: web failed in wait_for_ssh",
            "why: Nothing answers.",
            "the log's tail",
            "fix: `nexus start web`",
            "(ssh_not_ready)",
        ):
            assert part in outcome.err

    def test_failure_in_json(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, FAILED)
        outcome = sh("create", "web", "--json")
        assert (outcome.code, outcome.json["error"]) == (1, FAILURE)
        assert '"error": "ssh_not_ready"' in outcome.err

    def test_stopped_meanwhile(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, workspace(status="stopped"))
        outcome = sh("create", "web")
        assert outcome.code == 1
        assert "web is stopped, not running" in outcome.err

    def test_interrupted(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("time.sleep", interrupt)
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, UNDER_WAY)
        outcome = sh("create", "web")
        assert outcome.code == 130
        assert "nexus show web" in outcome.err
        assert sh("create", "web", "--json").err == ""

    def test_refused(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", refusal(409, "workspace_already_exists", "There is one.", workspace_id=WS))
        outcome = sh("create", "web")
        assert outcome.code == 6
        assert f"workspace_id: {WS}" in outcome.err


class TestStart:
    def test_until_it_runs(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary(status="stopped")))
        sh.api.on("POST", f"/workspaces/{WS}/start", Said(202, {"workspace_id": WS, "status": "starting"}))
        sh.api.on("GET", POLL, workspace(status="starting"), workspace())
        assert sh("start", "web").out == SSH

    def test_without_waiting(self, sh: Shell) -> None:
        answer = {"workspace_id": WS, "status": "starting", "polling_url": "/x"}
        sh.api.on("POST", f"/workspaces/{WS}/start", Said(202, answer))
        assert sh("start", WS, "--no-wait").out == f"{WS} is starting.\n"
        assert sh("start", WS, "--no-wait", "--json").json == answer


class TestFollow:
    @pytest.fixture
    def api(self, sh: Shell) -> Api:
        return Api(parse_url(sh.api.url), TOKEN, quiet=True)

    def test_a_server_that_is_restarted_is_waited_for(
        self, sh: Shell, api: Api, capsys: pytest.CaptureFixture[str]
    ) -> None:
        busy = refusal(429, "rate_limited", "Slower.", retry_after=1)
        sh.api.on("GET", POLL, UNDER_WAY, *[Said(hang_up=True)] * 6, busy, workspace())
        assert follow(api, WS, PlainSteps("web"))["status"] == "running"
        assert capsys.readouterr().err.count("does not answer") == 1

    def test_but_not_for_ever(self, sh: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        minutes = itertools.count(0, 61)
        monkeypatch.setattr("nexus_cli.following.time.monotonic", lambda: next(minutes))
        sh.api.on("GET", POLL, Said(hang_up=True))
        with pytest.raises(ServerUnreachable):
            follow(api, WS, Silence())
        sh.api.on("GET", f"/workspaces/{WS}2/status", refusal(429, "rate_limited", "Slower."))
        with pytest.raises(Refused):
            follow(api, f"{WS}2", Silence())

    def test_a_workspace_that_is_gone_is_not_waited_for(self, sh: Shell, api: Api) -> None:
        sh.api.on("GET", POLL, UNDER_WAY, refusal(404, "workspace_not_found", "Gone."))
        with pytest.raises(Refused):
            follow(api, WS, Silence())

    def test_it_is_looked_at_less_often_in_time(self, sh: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        monkeypatch.setattr("time.sleep", pauses.append)
        times = itertools.count(0, 3)
        monkeypatch.setattr("nexus_cli.following.time.monotonic", lambda: next(times))
        sh.api.on("GET", POLL, *[UNDER_WAY] * 9, workspace())
        follow(api, WS, Silence())
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.2, 1.0)


class TestLive:
    @pytest.fixture
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=100, color_system=None)

        def to_the_terminal(*, error: bool) -> Console:
            return console

        monkeypatch.setattr("nexus_cli.progress.console", to_the_terminal)
        return screen

    def test_every_step_is_drawn(self, terminal: io.StringIO) -> None:
        with view("web", as_json=False) as shown:
            assert isinstance(shown, LiveSteps)
            shown.away(1)
            shown.update(workspace(status="pending", queue_position=1, progress=[step("create_instance", "pending")]))
            shown.update(UNDER_WAY)
            shown.update(UNDER_WAY)
            shown.away(7)
            shown.update(FAILED)
        text = terminal.getvalue()
        for part in ("place 1 in the queue", "create instance", "wait for ssh", "612 ms", "✗", "✓", "for 7 s"):
            assert part in text
        assert "run setup" not in text

    def test_nothing_of_the_server_drives_the_terminal(self, terminal: io.StringIO) -> None:
        with view("we\x1b]0;b", as_json=False) as shown:
            hostile: dict[str, Any] = workspace(status="\x9b2J", progress=[step("\x1b[2J", "\x07")])
            shown.update(hostile)
        text = terminal.getvalue()
        assert r"\x1b]0;b" in text
        for control in ("\x1b]0", "\x9b2J", "\x07", "\x1b[2J"):
            assert control not in text

    def test_json_is_silent(self, terminal: io.StringIO) -> None:
        with view("web", as_json=True) as shown:
            shown.update(UNDER_WAY)
            shown.away(3)
        assert terminal.getvalue() == ""
