"""Everything that may hang ends at its deadline, and gives way to a stop or a deletion at once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from live import Live, living

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]

Shown = dict[str, Any]
Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by

STUBBORN = "trap '' TERM INT HUP; while :; do sleep 1; done"
AT_THE_LATEST = 15.0  # seconds that a stop or a deletion may take
DEADLINES = {"create_instance": 15, "clone_repository": 8, "run_setup": 8, "start_services": 8}


@contextmanager
def silent(address: str) -> Generator[int]:
    """A server that takes every connection and never says a word; its port."""
    with ExitStack() as held, socket.create_server((address, 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.enter_context(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def cases(lxd: Lxd) -> Generator[dict[str, tuple[str, Shown]]]:
    """What hangs, in which step, and how to ask for it."""
    network = lxd.api.networks["nexusbr0"].get().json()["metadata"]
    gateway = network["config"]["ipv4.address"].partition("/")[0]
    with silent("127.0.0.1") as images, silent(gateway) as git:
        never = {"type": "exec", "command": "sleep 1d", "timeout": 60}
        yield {
            "image": ("create_instance", {"image": f"stub{images}:any"}),
            "clone": ("clone_repository", {"repo": {"url": f"http://{gateway}:{git}/any.git"}}),
            "setup": ("run_setup", {"setup": [STUBBORN]}),
            "check": (
                "start_services",
                {"services": [{"name": "one", "command": STUBBORN, "health_check": never}]},
            ),
        }


def settings(cases: dict[str, tuple[str, Shown]]) -> dict[str, str]:
    """An image server that does not answer, by the prefix that its reference has."""
    prefix, port = cases["image"][1]["image"].partition(":")[0], cases["image"][1]["image"][4:-4]
    return {"NEXUS_IMAGE_SERVERS": json.dumps({prefix: f"https://127.0.0.1:{port}"})}


@pytest.fixture(scope="module")
def hurried(cases: dict[str, tuple[str, Shown]], tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    deadlines = {"NEXUS_DEADLINES": json.dumps(DEADLINES)}
    with living(tmp_path_factory.mktemp("hurried"), settings(cases) | deadlines) as live:
        yield live


@pytest.fixture(scope="module")
def patient(cases: dict[str, tuple[str, Shown]], tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    with living(tmp_path_factory.mktemp("patient"), settings(cases)) as live:
        yield live


@pytest.fixture(scope="module")
def late(hurried: Live, cases: dict[str, tuple[str, Shown]]) -> dict[str, str]:
    """The ids of workspaces that hang, each in its own way, all at once."""
    return {name: hurried.accept(name, **more) for name, (_, more) in cases.items()}


CASES = ["image", "clone", "setup", "check"]


@pytest.mark.parametrize("case", CASES)
def test_what_hangs_ends_at_its_deadline_with_the_step_named(
    hurried: Live, late: dict[str, str], cases: dict[str, tuple[str, Shown]], case: str
) -> None:
    error = hurried.settled(late[case], "error")["error"]
    assert (error["code"], error["step"]) == ("deadline_exceeded", cases[case][0])


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_what_hangs_gives_way(patient: Live, cases: dict[str, tuple[str, Shown]], lxd: Lxd, verb: str) -> None:
    hanging = {name: patient.accept(f"{name}-{verb}", **more) for name, (_, more) in cases.items()}
    for name, workspace_id in hanging.items():
        patient.until(workspace_id, lambda one, step=cases[name][0]: (step, "running") in steps(one))  # type: ignore[misc]  # a default
    with ThreadPoolExecutor(len(hanging)) as pool:
        if verb == "stop":
            assert {*pool.map(partial(ask, patient, "POST", "/stop"), hanging.values())} == {200}
            assert {patient.show(one)["status"] for one in hanging.values()} == {"stopped"}
        assert {*pool.map(partial(ask, patient, "DELETE", ""), hanging.values())} == {204}
    left = {f"nexus-{one.removeprefix('ws-')}" for one in hanging.values()}
    assert left.isdisjoint(one["name"] for one in lxd.instances())


def test_a_service_that_will_not_stop_is_stopped(patient: Live, lxd: Lxd) -> None:
    service = {"name": "one", "command": STUBBORN, "health_check": {"type": "none"}}
    workspace = patient.create("stubborn", services=[service])
    assert ask(patient, "POST", "/stop", workspace["workspace_id"]) == 200
    assert patient.show(workspace["workspace_id"])["status"] == "stopped"
    assert ask(patient, "DELETE", "", workspace["workspace_id"]) == 204
    assert workspace["container_id"] not in {one["name"] for one in lxd.instances()}


def steps(workspace: Shown) -> set[tuple[str, str]]:
    return {(one["step"], one["status"]) for one in workspace["progress"]}


def ask(live: Live, method: str, what: str, workspace_id: str) -> int:
    """The status of an answer about a workspace that has to come in time."""
    with live.server.client() as client:
        return client.request(method, f"/workspaces/{workspace_id}{what}", timeout=AT_THE_LATEST).status_code
