"""Services on the real thing: in order, healthy, logged, and gone on with whatever happens to the server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
import pytest

from live import Live, living

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(tmp_path_factory.mktemp("services")) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_is_left(live: Live) -> Iterator[None]:
    yield
    live.remove_everything()


def web(name: str, port: int, *needs: str, wait: float = 0, **more: Any) -> dict[str, Any]:
    """A service that notes when it was run and when it begins to listen, on localhost only."""
    command = (
        f"date +%s.%N >>~/{name}.run; sleep {wait}; date +%s.%N >>~/{name}.listens\n"
        f"exec python3 -m http.server --bind 127.0.0.1 {port}"
    )
    return {"name": name, "command": command, "port": port, "depends_on": list(needs), "expose": False, **more}


def moments(live: Live, workspace: dict[str, Any], names: list[str]) -> dict[str, tuple[list[float], list[float]]]:
    """When each service was run and when it listened, each time."""
    text = live.inside(
        workspace, f"for one in {' '.join(names)}; do cat ~/$one.run; echo; cat ~/$one.listens; echo; done"
    )
    blocks = [[float(line) for line in block.split()] for block in text.split("\n\n")]
    return {name: (blocks[2 * index], blocks[2 * index + 1]) for index, name in enumerate(names)}


def test_a_diamond_starts_in_order_and_side_by_side(live: Live) -> None:
    services = [web("db", 7001, wait=1), web("left", 7002, "db", wait=1), web("right", 7003, "db", wait=1)]
    workspace = live.create("diamond", services=[web("page", 7004, "left", "right"), *services])

    assert [one["status"] for one in workspace["services"].values()] == ["running"] * 4
    assert [one["health"] for one in workspace["services"].values()] == ["healthy"] * 4
    assert list(workspace["services"]) == ["db", "left", "right", "page"]
    ran = {name: run[0] for name, (run, _) in moments(live, workspace, list(workspace["services"])).items()}
    listens = {name: one[0] for name, (_, one) in moments(live, workspace, list(workspace["services"])).items()}
    assert listens["db"] < min(ran["left"], ran["right"])
    assert max(listens["left"], listens["right"]) < ran["page"]
    assert max(ran["left"], ran["right"]) < min(listens["left"], listens["right"])


def test_commands_and_variables_arrive_unharmed(live: Live) -> None:
    value = "a'b\"c\n$HOME `id` \\ ünïcode 🚀 %s %h"
    command = 'printf \'%s|\' "$VALUE" \'single\' "dou\\"ble" $((6*7)) "${HOME}"; echo \'%n "$x" 🚀\'\nexec sleep 1000'
    workspace = live.create("quotes", services=[{"name": "odd.name_1", "command": command, "env": {"VALUE": value}}])

    said = live.log(workspace, "odd.name_1")
    assert said == f'{value}|single|dou"ble|42|/home/dev|%n "$x" 🚀\n'
    processes = live.inside(workspace, "ps -eo args", user="root")
    assert "ünïcode" not in processes


def test_a_service_that_cannot_start_stops_what_needs_it_and_says_so(live: Live) -> None:
    services = [
        {"name": "db", "command": "echo the disk is on fire >&2; exit 3", "port": 7001},
        {"name": "api", "command": "sleep 1000", "depends_on": ["db"]},
        {"name": "other", "command": "sleep 1000"},
    ]
    failed = live.failing("broken", services=services)

    assert failed["error"]["code"] == "service_failed"
    assert failed["error"]["step"] == "start_services"
    for part in ("'db'", "exit code 3", "the disk is on fire", "api", "nexus logs broken db"):
        assert part in failed["error"]["message"]
    assert failed["services"]["db"]["status"] == "error"
    assert failed["services"]["api"]["status"] == "stopped"
    assert "db" in failed["services"]["api"]["error"]
    assert failed["services"]["other"]["status"] == "running"
    assert live.start(failed, "error")["error"]["code"] == "service_failed"


def test_a_service_that_is_never_healthy_fails_in_its_time(live: Live) -> None:
    check = {"type": "http", "path": "/nothing", "interval": 1, "timeout": 1, "retries": 2}
    failed = live.failing("sick", services=[web("page", 7001, health_check=check)])

    assert "2 checks (http) in a row" in failed["error"]["message"]


def test_a_crash_at_first_is_forgiven(live: Live) -> None:
    command = "if [ ! -e ~/second ]; then touch ~/second; exit 1; fi; exec sleep 1000"
    workspace = live.create("stumbles", services=[{"name": "worker", "command": command}])

    assert workspace["services"]["worker"]["status"] == "running"


def test_killing_and_hanging_shows_and_so_does_recovery(live: Live) -> None:
    quick = {"interval": 1, "timeout": 1}
    services = [
        web("page", 7001, health_check={"type": "http", **quick}),
        web("port", 7002, health_check={"type": "tcp", **quick}),
        {
            "name": "asked",
            "command": "sleep 1000",
            "health_check": {"type": "exec", "command": "[ ! -e ~/sick ]", **quick},
        },
        {"name": "worker", "command": "exec sleep 1000", "health_check": {"type": "none", **quick}},
    ]
    workspace = live.create("checked", services=services)

    live.inside(workspace, "pkill -STOP -f '[h]ttp.server.* 7001'; touch ~/sick")
    hung = live.service(workspace, "page", "unhealthy", 5)
    assert hung["health"] == "timeout"
    assert hung["last_check"] is not None
    assert live.service(workspace, "asked", "unhealthy", 5)["health"] == "unhealthy"
    assert live.show(workspace["workspace_id"])["status"] == "running"
    live.inside(workspace, "pkill -CONT -f '[h]ttp.server.* 7001'; rm ~/sick")
    assert live.service(workspace, "page", "running", 5)["health"] == "healthy"
    assert live.service(workspace, "asked", "running", 5)["error"] is None
    # What ends is started again, but not before it was seen.
    live.inside(workspace, "pkill -KILL -f '[h]ttp.server.* 7002'; pkill -TERM -x sleep", user="root")
    assert live.service(workspace, "port", "unhealthy", 5)["error"]
    assert live.service(workspace, "worker", "unhealthy", 5)["error"]
    assert live.service(workspace, "port", "running", 30)["health"] == "healthy"
    assert live.service(workspace, "worker", "running", 30)["health"] == "healthy"


def test_a_restart_of_one_service(live: Live) -> None:
    workspace = live.create("again", services=[web("db", 7001), web("api", 7002, "db")])
    path = f"/workspaces/{workspace['workspace_id']}/services/db/restart"

    answer = live.request("POST", path)
    assert answer.status_code == 202
    assert answer.json()["status"] == "starting"
    live.service(workspace, "db", "running", 20)
    ran = moments(live, workspace, ["db", "api"])
    assert len(ran["db"][0]) == 2
    assert len(ran["api"][0]) == 1


def test_a_server_killed_in_the_middle_of_a_start_changes_nothing(live: Live) -> None:
    services = [web("a", 7001, wait=1), web("b", 7002, "a", wait=2), web("c", 7003, "b")]
    workspace_id = live.accept("survivor", services=services, setup=["echo x >>~/setup; sleep 2"])
    live.until(workspace_id, lambda one: bool(one["progress"][5]["status"] == "running"))
    live.crash_and_restart()
    live.until(workspace_id, lambda one: bool(one["services"]["b"]["status"] == "starting"))
    live.crash_and_restart()

    workspace = live.settled(workspace_id, "running")
    ran = moments(live, workspace, ["a", "b", "c"])
    assert [len(run) for run, _ in ran.values()] == [1, 1, 1]
    assert live.inside(workspace, "cat ~/setup") == "x\n"


def test_services_outlive_the_server_and_come_back_in_order_without_it(live: Live) -> None:
    workspace = live.create("alone", services=[web("a", 7001, wait=1), web("b", 7002, "a")])
    port = int(live.server.url.rpartition(":")[2])
    measure.kill_server(live.server)
    try:
        live.inside(workspace, "curl -sf http://127.0.0.1:7002/ >/dev/null")
        subprocess.run(["lxc", "restart", "--project", "nexus", workspace["container_id"]], check=True)
        deadline = time.monotonic() + 30
        while "healthy" not in live.inside(workspace, "grep b.healthy /run/nexus/events || :"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        live.server = measure.start_server(live.state, port=port)

    ran = moments(live, workspace, ["a", "b"])
    assert [len(run) for run, _ in ran.values()] == [2, 2]
    assert ran["a"][1][1] < ran["b"][0][1]
    assert live.service(workspace, "b", "running", 20)["health"] == "healthy"


def test_stopping_goes_in_reverse_order_with_the_scripts_around_it(live: Live) -> None:
    def noting(name: str, *needs: str) -> dict[str, Any]:
        command = f"trap 'date +%s.%N >~/{name}.ended; exit 0' TERM; while :; do sleep 0.1; done"
        return {"name": name, "command": command, "depends_on": list(needs)}

    workspace = live.create("downwards", services=[noting("a"), noting("b", "a"), noting("c", "b")])
    live.stop(workspace)
    assert {one["status"] for one in live.show(workspace["workspace_id"])["services"].values()} == {"stopped"}
    workspace = live.start(workspace)
    assert {one["status"] for one in workspace["services"].values()} == {"running"}
    ended = live.inside(workspace, "cat ~/c.ended ~/b.ended ~/a.ended").split()
    assert ended == sorted(ended)


def test_logs_show_while_things_run(live: Live) -> None:
    workspace_id = live.accept("chatty", setup=["echo begins; sleep 3; echo ends"])
    live.until(workspace_id, lambda one: bool(one["progress"][5]["status"] == "running"))
    path = f"/workspaces/{workspace_id}/logs"
    with live.server.client() as client, client.stream("GET", path, params={"follow": "true"}) as answer:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        told = ""
        for piece in answer.iter_text():
            told += piece
            if "ends\n" in told.partition("begins\n")[2]:
                break
    workspace = live.settled(workspace_id, "running")
    live.stop(workspace)
    assert live.log(workspace).endswith("begins\nends\n")


def test_a_setup_that_fails_goes_on_with_the_failed_script(live: Live) -> None:
    scripts = [
        "echo one >>~/ran",
        "echo why it fails; [ -e ~/mended ] || exit 7; echo two >>~/ran",
        "echo three >>~/ran",
    ]
    failed = live.failing("mended", setup=scripts)
    assert failed["error"]["code"] == "setup_failed"
    for part in ("2 of 3", "exit code 7", "why it fails"):
        assert part in failed["error"]["message"]

    live.inside(failed, "touch ~/mended")
    workspace = live.start(failed)
    assert live.inside(workspace, "cat ~/ran") == "one\ntwo\nthree\n"


def test_the_workspaces_limits_hold_for_services_too(live: Live) -> None:
    services = [{"name": "who", "command": "id -un; pwd; nproc; exec sleep 1000"}]
    workspace = live.create("who", services=services, resources={"cpu": 1})
    assert live.log(workspace, "who").split() == ["dev", "/home/dev/workspace", "1"]


def test_thirty_services_start_in_a_correct_order(live: Live) -> None:
    names = [f"s{number:02}" for number in range(30)]
    needs = {name: [names[index - 6], names[index - 5]] if index >= 6 else [] for index, name in enumerate(names)}
    services = [web(name, 7100 + index, *needs[name], wait=0.5) for index, name in enumerate(names)]
    workspace = live.create("thirty", services=services)

    ran = moments(live, workspace, names)
    for name in names:
        assert all(ran[need][1][0] < ran[name][0][0] for need in needs[name])


def folder_of(live: Live) -> Path:
    """Where the server keeps everything."""
    return live.state


def test_secrets_of_services_are_nowhere_in_clear(live: Live) -> None:
    canary = "canary-7f3a9c"
    services = [{"name": "one", "command": "exec sleep 1000", "env": {"API_KEY": canary}}]
    workspace = live.create("secretive", services=services)

    kept = b"".join(path.read_bytes() for path in folder_of(live).iterdir() if path.is_file())
    assert canary.encode() not in kept
    assert canary not in json.dumps(live.show(workspace["workspace_id"]))
    assert canary not in live.inside(workspace, "ps -eo args", user="root")
    described = subprocess.run(
        ["lxc", "query", "/1.0/operations?project=nexus&recursion=1"], capture_output=True, check=True, text=True
    )
    assert canary not in described.stdout
    assert canary in live.inside(workspace, "tr '\\0' '\\n' </proc/$(pgrep -x sleep)/environ")
