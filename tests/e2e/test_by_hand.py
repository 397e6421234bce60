"""Somebody stops, pauses, renames, removes or breaks containers by hand: what is shown, and what then helps."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest
from own_lxd import PROJECT, OwnLxd

from live import Live, living

pytestmark = [pytest.mark.lxd]

Shown = dict[str, Any]
QUICK = {"NEXUS_HEARTBEAT_INTERVAL": "2", "NEXUS_RECONCILE_INTERVAL": "2", "NEXUS_ORPHAN_GRACE": "2"}
SERVICE = {"name": "web", "command": "python3 -m http.server 8000", "port": 8000}


class Hand:
    """Somebody with ``lxc``."""

    def __init__(self, own_lxd: OwnLxd) -> None:
        self._own_lxd = own_lxd

    def lxc(self, *arguments: str) -> str:
        return self._own_lxd.lxc(*arguments, "--project", PROJECT)

    def kill(self, name: str) -> None:
        """End the container's first process."""
        state = json.loads(self._own_lxd.lxc("query", f"/1.0/instances/{name}/state?project={PROJECT}"))
        os.kill(state["pid"], signal.SIGKILL)

    def names(self) -> set[str]:
        return set(self.lxc("list", "--format", "csv", "--columns", "n").split())

    def readdress(self, name: str) -> None:
        """Give its network card another address of the bridge's."""
        address = self.lxc("config", "device", "get", name, "eth0", "ipv4.address").strip()
        other = ".".join([*address.split(".")[:2], "30", "9"])
        self.lxc("config", "device", "set", name, "eth0", f"ipv4.address={other}")

    def rename(self, name: str) -> None:
        self.lxc("stop", "--force", name)
        self.lxc("rename", name, f"{name}-elsewhere")


DEEDS: dict[str, Callable[[Hand, str], object]] = {
    "stop": lambda hand, name: hand.lxc("stop", name),
    "kill-init": Hand.kill,
    "pause": lambda hand, name: hand.lxc("pause", name),
    "readdress": Hand.readdress,
    "delete": lambda hand, name: hand.lxc("delete", "--force", name),
    "rename": Hand.rename,
    "unmark": lambda hand, name: hand.lxc("config", "unset", name, "user.nexus.server"),
    "restart": lambda hand, name: hand.lxc("restart", name),
    "copy": lambda hand, name: hand.lxc("copy", name, f"{name}-copy"),
}
STOPPED = ("stopped", "by another's hand")
SEEN = {
    "stop": STOPPED,
    "kill-init": STOPPED,
    "pause": ("error", "is paused"),
    "readdress": ("error", "is broken"),
    "delete": ("error", "create it anew"),
    "rename": ("error", "lxc rename"),
    "unmark": ("error", "create it anew"),
    "restart": ("running", ""),
    "copy": ("running", ""),
}
HELPED_BY_A_START = ["stop", "kill-init", "pause", "readdress"]


@pytest.fixture(scope="module")
def live(own_lxd: OwnLxd, tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    with living(tmp_path_factory.mktemp("by-hand"), {**own_lxd.settings, **QUICK}) as live:
        yield live


@pytest.fixture(scope="module")
def hand(own_lxd: OwnLxd) -> Hand:
    return Hand(own_lxd)


@pytest.fixture(scope="module")
def workspaces(live: Live, hand: Hand) -> dict[str, Shown]:
    """One for each deed, which is done."""
    accepted = {name: live.accept(name, services=[SERVICE]) for name in DEEDS}
    made = {name: live.settled(workspace_id, "running") for name, workspace_id in accepted.items()}
    for name, deed in DEEDS.items():
        deed(hand, made[name]["container_id"])
    return made


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_done_is_shown_with_advice(live: Live, workspaces: dict[str, Shown], deed: str) -> None:
    status, says = SEEN[deed]
    shown = live.until(workspaces[deed]["workspace_id"], lambda one: bool(one["status"] == status))
    told = " ".join([*shown["notes"], (shown["error"] or {}).get("message", "")])
    assert says in told
    if status == "running":
        answers(live, shown)


@pytest.mark.parametrize("deed", HELPED_BY_A_START)
def test_a_start_brings_it_back(live: Live, workspaces: dict[str, Shown], deed: str) -> None:
    before = workspaces[deed]
    live.until(before["workspace_id"], lambda one: bool(one["status"] == SEEN[deed][0]))
    again = live.start(before)
    assert again["ssh"]["host_key"] == before["ssh"]["host_key"]
    answers(live, again)


@pytest.mark.parametrize("deed", ["delete", "unmark"])
def test_a_start_of_what_is_gone_says_so(live: Live, workspaces: dict[str, Shown], deed: str) -> None:
    live.until(workspaces[deed]["workspace_id"], lambda one: bool(one["status"] == "error"))
    assert live.start(workspaces[deed], "error")["error"]["code"] == "instance_missing"


def test_renamed_back_it_starts(live: Live, hand: Hand, workspaces: dict[str, Shown]) -> None:
    workspace = workspaces["rename"]
    live.until(workspace["workspace_id"], lambda one: bool(one["status"] == "error"))
    hand.lxc("rename", f"{workspace['container_id']}-elsewhere", workspace["container_id"])
    answers(live, live.start(workspace))
    hand.rename(workspace["container_id"])


def test_all_can_be_deleted_and_what_is_not_ours_is_left(live: Live, hand: Hand, workspaces: dict[str, Shown]) -> None:
    for one in workspaces.values():
        answer = live.request("DELETE", f"/workspaces/{one['workspace_id']}", params={"force": "true"})
        assert answer.status_code == 204
    left = {workspaces["unmark"]["container_id"], f"{workspaces['copy']['container_id']}-copy"}
    deadline = time.monotonic() + 30
    while hand.names() != left:  # what was renamed is ours still, and removed after a while
        assert time.monotonic() < deadline, hand.names()
        time.sleep(0.1)


def answers(live: Live, workspace: Shown) -> None:
    """Its service is reached through the host's port, before long."""

    def is_reached(shown: Shown) -> bool:
        try:
            return httpx.get(shown["services"]["web"]["url"], timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    live.until(workspace["workspace_id"], is_reached)
