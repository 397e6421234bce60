"""LXD hangs, dies, and comes back, also together with the machine; one of the tests' own, with a real server on it."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import measure
import pytest
from own_lxd import PROJECT, OwnLxd

from live import Live, living

pytestmark = [pytest.mark.lxd]

Shown = dict[str, Any]

QUICK = {"NEXUS_HEARTBEAT_INTERVAL": "2", "NEXUS_RECONCILE_INTERVAL": "3", "NEXUS_ORPHAN_GRACE": "2"}
LATEST = 15.0  # seconds in which every request is answered
SERVICES = [
    {"name": "db", "command": "python3 -m http.server 8001", "port": 8001},
    {"name": "web", "command": "python3 -m http.server 8000", "port": 8000, "depends_on": ["db"]},
    {
        "name": "worker",
        "command": "sleep 1d",
        "health_check": {"type": "exec", "command": "true", "interval": 1, "timeout": 1},
    },
]


@pytest.fixture(scope="module")
def live(own_lxd: OwnLxd, tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    with living(tmp_path_factory.mktemp("away"), {**own_lxd.settings, **QUICK}) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_is_left(own_lxd: OwnLxd, live: Live) -> Generator[None]:
    yield
    live.remove_everything()
    until(lambda: containers(own_lxd) == set())


@pytest.fixture
def workspace(live: Live) -> Shown:
    return live.create("main", services=SERVICES)


def until(is_so: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def containers(own_lxd: OwnLxd) -> set[str]:
    """What LXD itself says there is."""
    return set(own_lxd.lxc("list", "--project", PROJECT, "--format", "csv", "--columns", "n").split())


def health(live: Live) -> str:
    return str(live.request("GET", "/health").json()["status"])


def ask(live: Live, method: str, path: str, **more: Any) -> int:
    """The status of an answer that has to come in time."""
    with live.server.client() as client:
        return client.request(method, path, timeout=LATEST, **more).status_code


def serves(workspace: Shown) -> bool:
    """Whether its service answers through the host's port."""
    try:
        return httpx.get(workspace["services"]["web"]["url"], timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def fares(workspace: Shown) -> dict[str, tuple[str, str]]:
    return {name: (one["status"], one["health"]) for name, one in workspace["services"].items()}


def sweep_ports(live: Live) -> None:
    """Take away what a reboot takes away: the ports that the kernel led to containers."""
    with closing(sqlite3.connect(live.state / "nexus.db")) as database:
        (server_id,) = database.execute("SELECT id FROM server").fetchone()
    subprocess.run(["nft", "delete", "table", "ip", f"nexus_{server_id}"], check=True)


def test_while_lxd_hangs_every_request_is_answered_and_nothing_is_called_dead(
    own_lxd: OwnLxd, live: Live, workspace: Shown
) -> None:
    here = f"/workspaces/{workspace['workspace_id']}"
    stopped = live.create("stopped")
    live.stop(stopped)
    own_lxd.pause()
    try:
        until(lambda: health(live) == "degraded")
        asked: dict[tuple[int, str, str], Shown] = {
            (202, "POST", f"/workspaces/{stopped['workspace_id']}/start"): {},
            (202, "POST", "/workspaces"): {"json": {"workspace_name": "new", "github_username": "alice"}},
            (200, "GET", here): {},
            (503, "POST", f"{here}/stop"): {},
            (503, "POST", f"{here}/services/web/restart"): {},
            (503, "GET", f"{here}/services/web/logs"): {},
            (503, "GET", f"{here}/logs"): {},
        }
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = {one: pool.submit(ask, live, one[1], one[2], **more) for one, more in asked.items()}
        assert [one for one, answer in answers.items() if answer.result() != one[0]] == []
        assert fares(live.show(workspace["workspace_id"])) == fares(workspace)
        assert serves(workspace)
    finally:
        own_lxd.resume()
    live.settled(stopped["workspace_id"], "running")
    until(lambda: health(live) == "ok")
    listed = live.request("GET", "/workspaces").json()["workspaces"]
    assert {one["name"] for one in listed} == {"main", "stopped", "new"}
    for one in listed:
        live.settled(one["workspace_id"], "running")
    assert fares(live.show(workspace["workspace_id"])) == fares(workspace)


def test_what_runs_goes_on_without_lxd(own_lxd: OwnLxd, live: Live, workspace: Shown) -> None:
    command = [*measure.ssh_arguments(workspace, live.key, live.key.parent / "known"), "echo on; read x; echo $x"]
    session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdin is not None
    assert session.stdout is not None
    assert session.stdout.readline() == "on\n"
    own_lxd.kill()
    until(lambda: health(live) == "degraded")
    assert serves(workspace)
    assert fares(live.show(workspace["workspace_id"])) == fares(workspace)
    own_lxd.start()
    until(lambda: health(live) == "ok")
    assert session.communicate("still here\n", timeout=30)[0] == "still here\n"
    assert fares(live.show(workspace["workspace_id"])) == fares(workspace)


@pytest.mark.parametrize("moment", [0.1, 0.4])
def test_lxd_killed_in_the_middle_of_a_creation_and_of_a_deletion(own_lxd: OwnLxd, live: Live, moment: float) -> None:
    workspace_id = live.accept("made")
    time.sleep(moment)  # where in the work it dies is what differs
    own_lxd.kill()
    own_lxd.start()
    made = live.settled(workspace_id, "running")
    assert containers(own_lxd) == {made["container_id"]}
    answered: list[int] = []
    deletion = threading.Thread(
        target=lambda: answered.append(ask(live, "DELETE", f"/workspaces/{workspace_id}?force=true"))
    )
    deletion.start()
    time.sleep(moment / 3)
    own_lxd.kill()
    own_lxd.start()
    deletion.join()
    assert answered[0] in (204, 503)
    until(lambda: containers(own_lxd) == set())
    until(lambda: live.request("GET", "/workspaces").json()["total"] == 0)


@pytest.mark.parametrize(
    ("down", "back"),
    [(OwnLxd.shut_down, "server first"), (OwnLxd.cut_power, "LXD first")],
    ids=["orderly", "power-cut"],
)
def test_after_a_reboot_what_ran_runs_again(
    own_lxd: OwnLxd, live: Live, workspace: Shown, down: Callable[[OwnLxd], None], back: str
) -> None:
    stopped = live.create("stopped", services=SERVICES)
    live.stop(stopped)
    under_way = live.accept("under-way", services=SERVICES)
    live.until(under_way, lambda one: any(step["step"] == "wait_for_ssh" for step in one["progress"]))
    live.crash()
    sweep_ports(live)
    down(own_lxd)
    if back == "server first":
        live.restart("ok", "degraded")
    own_lxd.start()
    if back == "LXD first":
        live.restart()
    assert serves(live.settled(under_way, "running"))
    again = live.until(workspace["workspace_id"], lambda one: one["status"] == "running" and serves(one))
    assert again["ssh"] == workspace["ssh"]
    assert live.until(again["workspace_id"], lambda one: fares(one) == fares(workspace))
    written = live.inside(again, "grep -E '^(db|web) (starting|healthy)' /run/nexus/events").splitlines()
    assert written.index("db healthy") < written.index("web starting")
    assert live.show(stopped["workspace_id"])["status"] == "stopped"
