"""Events on the command line: the live steps of a workspace that comes up, and ``nexus events``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from nexus_cli.errors import ServerUnreachable
from nexus_cli.event_stream import Told, parsed
from nexus_cli.events import line
from nexus_cli.progress import LiveSteps
from stub_api import (
    ACCEPTED,
    HEARTBEAT,
    WS,
    Said,
    Shell,
    block,
    page,
    refusal,
    shell,
    step,
    step_block,
    stream,
    summary,
    workspace,
)

POLL = f"/workspaces/{WS}/status"
OF_WEB = f"/workspaces/{WS}/events"
CREATING = workspace(
    status="creating",
    ssh=None,
    progress=[step("create_instance", "running", None), step("wait_for_ssh", "pending", None)],
)
BEGUN = block(1, "status", status="pending", previous=None) + block(2, "status", status="creating", previous="pending")
RUNNING = block(9, "status", status="running", previous="creating")
AT = "2026-01-17T10:30:00Z  alice/web  "


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


def asked(sh: Shell, path: str) -> list[dict[str, str]]:
    """The headers of each request to this address."""
    return [one.headers for one in sh.api.asked if one.path == f"/api/v1{path}"]


class TestComingUp:
    def test_the_steps_are_those_of_the_stream(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, CREATING, CREATING, workspace())
        steps = [
            step_block(3, "create_instance", "running"),
            step_block(4, "create_instance", "done", 700),
            step_block(5, "wait_for_ssh", "running"),
            block(6, "service", service="api", status="running", health="healthy"),
            step_block(7, "wait_for_ssh", "done", 80),
            step_block(8, "create_instance", "running"),  # what is done does not run again
            step_block(8, "another", "done", 1),
        ]
        sh.api.on("GET", OF_WEB, stream(HEARTBEAT, BEGUN, *steps, RUNNING))
        outcome = sh("create", "web")
        assert (outcome.code, outcome.out) == (0, "ssh -p 2222 dev@staging.example.com\n")
        assert outcome.err.splitlines()[:2] == ["create_instance done 700 ms", "wait_for_ssh done 80 ms"]
        # Looked at when it was created, when the stream began, and when it ran.
        assert len(asked(sh, POLL)) == 3
        [headers] = asked(sh, OF_WEB)
        assert headers["accept"] == "text/event-stream, application/json"
        assert "last-event-id" not in headers

    def test_a_stream_that_breaks_is_gone_on_with(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, CREATING, CREATING, CREATING, workspace())
        sh.api.on(
            "GET",
            OF_WEB,
            stream(HEARTBEAT, BEGUN, step_block(3, "create_instance", "done", 700)[:-9], cut=True),
            Said(hang_up=True),
            refusal(503, "database_busy", "Busy.", retry_after=1),
            stream(HEARTBEAT, step_block(3, "create_instance", "done", 700)),
            stream(RUNNING),
        )
        outcome = sh("create", "web")
        assert outcome.code == 0
        assert outcome.err.count("does not answer") == 1
        assert outcome.err.count("create_instance done 700 ms") == 1
        assert [one.get("last-event-id") for one in asked(sh, OF_WEB)] == [None, "2", "2", "2", "3"]

    @pytest.mark.parametrize("marker", ["gap", "dropped"])
    def test_after_a_marker_the_workspace_is_looked_at(self, sh: Shell, marker: str) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, CREATING, workspace())
        sh.api.on("GET", OF_WEB, stream(block(5, marker)))
        assert sh("create", "web").code == 0
        assert len(asked(sh, POLL)) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            refusal(404, "not_found", "There is nothing."),
            refusal(405, "method_not_allowed", "No."),
            stream(),
            stream(cut=True),
        ],
        ids=["no such route", "no such method", "nothing comes", "it breaks before anything comes"],
    )
    def test_without_a_stream_it_is_looked_at_again_and_again(self, sh: Shell, answer: Said) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, CREATING, CREATING, CREATING, workspace())
        sh.api.on("GET", OF_WEB, answer)
        assert sh("create", "web").code == 0
        assert (len(asked(sh, POLL)), len(asked(sh, OF_WEB))) == (4, 1)

    def test_a_workspace_that_is_deleted_meanwhile(self, sh: Shell) -> None:
        sh.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        sh.api.on("GET", POLL, CREATING, CREATING, refusal(404, "workspace_not_found", "Gone."))
        sh.api.on("GET", OF_WEB, stream(HEARTBEAT, BEGUN, block(3, "status", status="deleting", previous="creating")))
        assert sh("create", "web").code == 5

    def test_a_running_step_counts_up_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
        live = LiveSteps("web", Live(console=screen, auto_refresh=False))
        now = 100.0
        monkeypatch.setattr("nexus_cli.progress.time.monotonic", lambda: now)

        def drawn() -> str:
            with screen.capture() as captured:
                screen.print(live)
            return captured.get()

        assert drawn().strip() == ""
        live.update(CREATING)
        assert "create instance" in drawn()
        now = 107.0
        assert "create instance 7 s" in drawn()


class TestEvents:
    @pytest.fixture(autouse=True)
    def there(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))

    def test_a_workspace_to_its_end(self, sh: Shell) -> None:
        failure = {"code": "ssh_not_ready", "message": "Nothing answers.\nsecond line", "step": "wait_for_ssh"}
        sh.api.on(
            "GET",
            OF_WEB,
            stream(
                HEARTBEAT,
                BEGUN,
                step_block(3, "create_instance", "running"),
                step_block(4, "create_instance", "done", 700),
                step_block(5, "wait_for_ssh", "failed", 80, error="Nothing\x1b[2J answers."),
                block(6, "service", service="api", status="running", health="healthy"),
                block(7, "status", status="error", previous="creating", error=failure),
                block(8, "dropped", reason="slow"),
            ),
            stream(
                block(8, "gap", message="Not all events after 7 are kept any more."),
                block(9, "status", status="deleted", previous="deleting"),
            ),
        )
        outcome = sh("events", "web")
        assert outcome.code == 0
        assert outcome.out.splitlines() == [
            AT + "new → pending",
            AT + "pending → creating",
            AT + "create_instance running",
            AT + "create_instance done 700 ms",
            AT + r"wait_for_ssh failed 80 ms  Nothing\x1b[2J answers.",
            AT + "service api running, healthy",
            AT + r"creating → error  Nothing answers.\nsecond line",
            "events may be missing here: Not all events after 7 are kept any more.",
            AT + "deleting → deleted",
        ]
        assert [one.get("last-event-id") for one in asked(sh, OF_WEB)] == [None, "8"]

    def test_everything_in_json_until_the_token_is_revoked(self, sh: Shell) -> None:
        sh.api.on(
            "GET",
            "/events",
            stream(HEARTBEAT, block(5, "status", status="running", previous="creating", error="\x7f")),
            Said(hang_up=True),
            stream(block(6, "status", status="deleted", previous="deleting")),
            refusal(401, "unauthorized", "The token is not valid."),
        )
        outcome = sh("events", "--json", "--after", "4")
        assert outcome.code == 4
        assert [json.loads(one)["id"] for one in outcome.out.splitlines()] == [5, 6]
        assert "\x7f" not in outcome.out
        assert json.loads(outcome.err)["error"] == "unauthorized"
        assert [one["last-event-id"] for one in asked(sh, "/events")] == ["4", "5", "5", "6"]

    def test_a_server_that_is_restarted_is_waited_for(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        minutes = iter(range(0, 10_000, 61))
        monkeypatch.setattr("nexus_cli.event_stream.time.monotonic", lambda: next(minutes))
        sh.api.on(
            "GET",
            OF_WEB,
            stream(HEARTBEAT),
            *[Said(hang_up=True)] * 5,
            stream(block(9, "status", status="deleted", previous="deleting")),
        )
        outcome = sh("events", WS)
        assert outcome.code == 0
        assert outcome.err.splitlines() == [
            "the server does not answer; waiting for it to come back",
            "the server is back",
        ]

    def test_what_is_not_there_is_not_waited_for(self, sh: Shell) -> None:
        sh.api.on("GET", OF_WEB, refusal(404, "workspace_not_found", "There is no such workspace."))
        assert sh("events", "web").code == 5
        assert sh("events", "other").code == 5
        outcome = sh("events")
        assert outcome.code == 3
        assert "streams no events" in outcome.err


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_events_are_the_same_however_they_are_cut(cut: int, end: str) -> None:
    raw = f"retry: 1000\n: heartbeat\n\n{block(5, 'status', status='ü')}event: gap\ndata:{{\ndata: }}\nother\n\n"
    sent = raw.replace("\n", end).encode()
    found = list(parsed(sent[at : at + cut] for at in range(0, len(sent), cut)))
    assert found[0] == (None, None)
    assert [(number, one.kind) for number, one in found[1:] if one is not None] == [(5, "status"), (None, "gap")]
    assert found[1][1] is not None
    assert found[1][1].data["status"] == "ü"


@pytest.mark.parametrize("raw", ["data: {\n\n", "data: []\n\n", "id: x\ndata: {}\n\n"])
def test_what_is_no_event_is_no_nexus(raw: str) -> None:
    with pytest.raises(ServerUnreachable):
        list(parsed([raw.encode()]))


@pytest.mark.parametrize("data", [{}, {"error": {}, "status": None}, {"error": "x"}])
def test_any_event_has_a_line(data: dict[str, Any]) -> None:
    for kind in ("status", "step", "service", "gap", "another"):
        assert line(Told(kind, data))
