"""Events on the real thing: a creation as it goes, through the end of a server, and on the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import measure
import pytest
from httpx_sse import EventSource

from live import OWNER, Live, living

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(tmp_path_factory.mktemp("events")) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_is_left(live: Live) -> Iterator[None]:
    yield
    live.remove_everything()


def told(live: Live, workspace_id: str, *, until: str, after: str = "") -> list[dict[str, Any]]:
    """The workspace's events from its operation's beginning, or after one, until it has this status."""
    found: list[dict[str, Any]] = []
    headers = {"Last-Event-ID": after} if after else {}
    with (
        live.server.client() as client,
        client.stream("GET", f"/workspaces/{workspace_id}/events", headers=headers) as answer,
    ):
        for one in EventSource(answer).iter_sse():
            found.append(one.json())
            assert one.id == str(found[-1]["id"])
            if found[-1]["kind"] == "status" and found[-1]["status"] == until:
                break
    return found


def in_short(events: list[dict[str, Any]]) -> list[str]:
    return [" ".join(filter(None, (one.get("step"), one["status"]))) for one in events if one["kind"] != "service"]


def test_a_creation_and_its_end_step_by_step(live: Live) -> None:
    workspace_id = live.accept("web")
    events = told(live, workspace_id, until="running")
    steps = ["create_instance", "publish_ssh", "start_instance", "wait_for_ssh"]
    each = [f"{step} {status}" for step in steps for status in ("running", "done")]
    assert in_short(events) == ["pending", "creating", *each, "running"]
    assert {(one["owner"], one["name"], one["workspace_id"]) for one in events} == {(OWNER, "web", workspace_id)}
    shown = live.show(workspace_id)
    durations = {one["step"]: one["duration_ms"] for one in shown["progress"] if one["status"] == "done"}
    assert durations == {one["step"]: one["duration_ms"] for one in events if one["status"] == "done"}

    with live.server.client() as client:
        assert client.delete(f"/workspaces/{workspace_id}", params={"force": "true"}).status_code == 204
    rest = told(live, workspace_id, until="never", after=str(events[-1]["id"]))  # it ends by itself
    assert in_short(rest)[0] == "deleting"
    assert in_short(rest)[-1] == "deleted"


def test_nothing_is_missed_though_the_server_dies_in_between(live: Live) -> None:
    workspace_id = live.accept("web", setup=["sleep 3"])
    events: list[dict[str, Any]] = []
    with (
        live.server.client() as client,
        client.stream("GET", f"/workspaces/{workspace_id}/events") as answer,
        suppress(httpx.TransportError),  # the server dies while it speaks
    ):
        for one in EventSource(answer).iter_sse():
            events.append(one.json())
            if in_short(events)[-1:] == ["run_setup running"]:
                live.crash_and_restart()
    assert in_short(events)[-1] == "run_setup running"
    events += told(live, workspace_id, until="running", after=str(events[-1]["id"]))
    every = told(live, workspace_id, until="running")
    assert events == every
    assert in_short(events)[-3:] == ["run_setup running", "run_setup done", "running"]


def test_the_command_line_shows_it_live(live: Live, tmp_path: Path) -> None:
    nexus = str(measure.NEXUS)
    environment = live.server.environment()
    with (tmp_path / "events").open("wb") as out:
        watching = subprocess.Popen([nexus, "events", "--json", "--after", "0"], env=environment, stdout=out)
        try:
            created = subprocess.run(
                [nexus, "create", "web", "--user", OWNER], env=environment, capture_output=True, text=True, check=False
            )
            assert created.returncode == 0, created.stderr
            assert created.stdout.startswith("ssh ")
            told_steps = [line.split()[:2] for line in created.stderr.splitlines()[:4]]
            assert told_steps == [
                [step, "done"] for step in ("create_instance", "publish_ssh", "start_instance", "wait_for_ssh")
            ]
            subprocess.run([nexus, "rm", "web", "--force"], env=environment, capture_output=True, check=True)
            last = subprocess.run([nexus, "events", "web"], env=environment, capture_output=True, check=False)
            assert last.returncode == 5
        finally:
            watching.terminate()
            watching.wait(10)
    seen = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [one["id"] for one in seen] == sorted({one["id"] for one in seen})
    statuses = [one["status"] for one in seen if one["kind"] == "status"][-5:]
    assert statuses == ["pending", "creating", "running", "deleting", "deleted"]
