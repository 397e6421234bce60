"""The main job on the real thing: a real server process, LXD, nftables, and the OpenSSH client."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import measure
import pytest
from measure import Server

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("main-job")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = measure.start_server(folder / "state")
    try:
        yield server
    finally:
        current = measure.running_server(folder / "state")
        if current is not None:  # a test may have replaced it
            remove_everything(current)
            measure.stop_server(current)
            measure.forget(current)


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server) -> Iterator[None]:
    yield
    remove_everything(measure.running_server(server.state) or server)


def remove_everything(server: Server) -> None:
    with server.client() as client:
        for one in client.get("/workspaces", params={"limit": 200}).json()["workspaces"]:
            client.delete(f"/workspaces/{one['workspace_id']}", params={"force": "true"})


@pytest.fixture(scope="module")
def alice(server: Server, folder: Path) -> Path:
    key = measure.make_key(folder, "alice")
    measure.register(server, "alice", 1, key)
    return key


@pytest.fixture(scope="module")
def bob(server: Server, folder: Path) -> Path:
    key = measure.make_key(folder, "bob")
    measure.register(server, "bob", 2, key)
    return key


def ssh(workspace: dict[str, Any], key: Path, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    known_hosts = key.parent / f"known_hosts.{workspace['workspace_id']}"
    arguments = [*measure.ssh_arguments(workspace, key, known_hosts), command]
    return subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, **more
    )


def containers(server: Server) -> list[dict[str, Any]]:
    """What LXD itself says this server has."""
    with sqlite3.connect(server.state / "nexus.db") as database:
        (server_id,) = database.execute("SELECT id FROM server").fetchone()
    database.close()
    listed = subprocess.run(
        ["lxc", "query", "/1.0/instances?project=nexus&recursion=2"], capture_output=True, check=True
    )
    return [one for one in json.loads(listed.stdout) if one["config"].get("user.nexus.server") == server_id]


def published(server: Server) -> str:
    """The rules in the kernel."""
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True, text=True).stdout


def test_a_workspace_from_request_to_nothing_left(server: Server, alice: Path) -> None:
    with server.client() as client:
        workspace = measure.create(client, "alice", "my-project")
        assert workspace["ssh"]["port"] in range(2222, 2300)
        done = [step["step"] for step in workspace["progress"] if step["status"] == "done"]
        assert done == ["create_instance", "publish_ssh", "start_instance", "wait_for_ssh"]
        answer = ssh(workspace, alice, "whoami; hostname; sudo -n id -u; nproc")
        assert answer.stdout.split() == ["dev", "my-project", "0", "2"], answer.stderr
        [container] = containers(server)
        assert container["name"] == workspace["container_id"]
        assert container["config"]["user.nexus.workspace"] == workspace["workspace_id"]
        assert container["config"].get("security.privileged", "false") == "false"
        measure.delete(client, workspace["workspace_id"])
        assert client.get(f"/workspaces/{workspace['workspace_id']}").status_code == 404
    assert containers(server) == []
    assert f"{workspace['ssh']['port']} :" not in published(server)
    assert ssh(workspace, alice, "true").returncode == 255


def test_another_key_does_not_open(server: Server, alice: Path, bob: Path) -> None:
    with server.client() as client:
        workspace = measure.create(client, "alice", "mine")
    assert ssh(workspace, alice, "true").returncode == 0
    refused = ssh(workspace, bob, "true")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_resources_are_enforced_from_inside(server: Server, alice: Path) -> None:
    with server.client() as client:
        body = {
            "workspace_name": "small",
            "github_username": "alice",
            "resources": {"cpu": 1, "memory": "256MiB", "disk": "1GiB"},
        }
        accepted = client.post("/workspaces", json=body)
        assert accepted.status_code == 202
        workspace = wait_for(client, accepted.json()["workspace_id"], "running")
    inside = ssh(workspace, alice, "nproc; free -b | awk '/^Mem/{print $2}'; dd if=/dev/zero of=big bs=1M count=1500")
    cores, memory = inside.stdout.split()[:2]
    assert (int(cores), int(memory)) == (1, 256 * 1024**2)
    assert inside.returncode != 0
    assert "quota" in inside.stderr.lower() or "space" in inside.stderr.lower()


def wait_for(client: httpx.Client, workspace_id: str, status: str) -> dict[str, Any]:
    return measure.wait_for(client, f"/workspaces/{workspace_id}", status)


def test_stop_closes_ssh_and_start_brings_back_the_same(server: Server, alice: Path) -> None:
    with server.client() as client:
        before = measure.create(client, "alice", "sleeper")
        address = f"/workspaces/{before['workspace_id']}"
        assert ssh(before, alice, "echo kept > kept").returncode == 0
        arguments = measure.ssh_arguments(before, alice, alice.parent / "known_hosts.open")
        with subprocess.Popen([*arguments, "sleep 600"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as open_:
            wait_for_session(before, alice)
            stopped = client.post(f"{address}/stop")
            assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
            assert open_.wait(10) == 255  # closed, not left hanging
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection(("127.0.0.1", before["ssh"]["port"]), timeout=2)
        assert client.post(f"{address}/start").status_code == 202
        after = wait_for(client, before["workspace_id"], "running")
    assert after["ssh"] == before["ssh"]
    assert ssh(after, alice, "cat kept").stdout == "kept\n"


def wait_for_session(workspace: dict[str, Any], key: Path) -> None:
    deadline = time.monotonic() + 15
    while "sleep 600" not in ssh(workspace, key, "ps -eo args").stdout.replace("ps -eo args", ""):
        assert time.monotonic() < deadline


def test_a_new_key_locks_the_old_one_out_of_a_running_workspace(server: Server, folder: Path) -> None:
    old, new = measure.make_key(folder, "carol-old"), measure.make_key(folder, "carol-new")
    measure.register(server, "carol", 3, old)
    with server.client() as client:
        workspace = measure.create(client, "carol", "rotating")
        assert ssh(workspace, old, "true").returncode == 0
        answer = client.put("/users/carol/ssh-key", json={"ssh_pubkey": new.with_suffix(".pub").read_text()})
        assert answer.status_code == 200, answer.text
    assert ssh(workspace, new, "true").returncode == 0
    assert ssh(workspace, old, "true").returncode == 255


def test_sessions_and_workspaces_outlive_the_server(server: Server, alice: Path) -> None:
    with server.client() as client:
        workspace = measure.create(client, "alice", "lasting")
    arguments = measure.ssh_arguments(workspace, alice, alice.parent / "known_hosts.lasting")
    with subprocess.Popen([*arguments, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        current = measure.running_server(server.state)
        assert current is not None
        measure.stop_server(current)
        session.stdin.write("still here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "still here\n"
        assert ssh(workspace, alice, "true").returncode == 0  # new connections too
        again = measure.start_server(server.state)
        session.stdin.write("and here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "and here\n"
        session.stdin.close()
        assert session.wait(10) == 0
    with again.client() as client:
        shown = client.get(f"/workspaces/{workspace['workspace_id']}").json()
        assert shown["status"] == "running"
        measure.delete(client, workspace["workspace_id"])
    # The module's later tests talk to the address they know: put a server of the same state there.
    measure.stop_server(again)
    measure.start_server(server.state, port=int(server.url.rpartition(":")[2]))


def test_twenty_at_once_each_with_its_own_key(server: Server, folder: Path) -> None:
    count = 20
    keys = {f"user-{number}": measure.make_key(folder, f"user-{number}") for number in range(count)}
    for number, (name, key) in enumerate(keys.items()):
        measure.register(server, name, 100 + number, key)
    with server.client() as client, ThreadPoolExecutor(count) as pool:

        def create(name: str) -> dict[str, Any]:
            return measure.create(client, name, "one-of-many")

        made = dict(zip(keys, pool.map(create, keys), strict=True))
        ports = {one["ssh"]["port"] for one in made.values()}
        assert len(ports) == count
        assert ports <= set(range(2222, 2300))
        assert all(ssh(one, keys[name], "true").returncode == 0 for name, one in made.items())
        assert ssh(made["user-0"], keys["user-1"], "true").returncode == 255
        for deletion in [pool.submit(measure.delete, client, one["workspace_id"]) for one in made.values()]:
            deletion.result()
    assert containers(server) == []
    rules = published(server)
    assert not [port for port in ports if f"{port} :" in rules]
    database = sqlite3.connect(server.state / "nexus.db")
    assert database.execute("SELECT count(*) FROM port_allocations WHERE released_at IS NULL").fetchone() == (0,)
    assert database.execute("SELECT count(*) FROM services").fetchone() == (0,)
    database.close()


def test_the_port_works_from_another_host(server: Server, alice: Path) -> None:
    """Another host is a network namespace of the test's own, with a cable to this one."""
    with server.client() as client:
        workspace = measure.create(client, "alice", "far-away")
    space, near, far = "nexus-far", "nexus-near0", "nexus-far0"
    subnet = "198.18.77"  # set apart for tests between hosts by RFC 2544

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    with suppress(subprocess.CalledProcessError):
        ip("netns", "del", space)
    ip("netns", "add", space)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        ip("addr", "add", f"{subnet}.1/24", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", space, "addr", "add", f"{subnet}.2/24", "dev", far)
        ip("-n", space, "link", "set", far, "up")
        elsewhere = {**workspace, "ssh": {**workspace["ssh"], "host": f"{subnet}.1"}}
        arguments = measure.ssh_arguments(elsewhere, alice, alice.parent / "known_hosts.far")
        answer = subprocess.run(
            ["ip", "netns", "exec", space, *arguments, "hostname"],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert answer.stdout == "far-away\n", answer.stderr
    finally:
        ip("netns", "del", space)


def test_work_under_way_goes_on_after_a_kill(server: Server, alice: Path, folder: Path) -> None:
    state = folder / "killed"
    shutil.rmtree(state, ignore_errors=True)
    victim = measure.start_server(state)
    measure.register(victim, "alice", 1, alice)
    with victim.client() as client:
        body = {"workspace_name": "survivor", "github_username": "alice"}
        workspace_id = client.post("/workspaces", json=body).json()["workspace_id"]
    measure.kill_server(victim)
    heir = measure.start_server(state)
    try:
        with heir.client() as client:
            workspace = wait_for(client, workspace_id, "running")
            assert ssh(workspace, alice, "hostname").stdout == "survivor\n"
            assert len(containers(heir)) == 1
    finally:
        remove_everything(heir)
        measure.stop_server(heir)
        measure.forget(heir)


def test_an_image_that_cannot_be_downloaded_ends_in_error(server: Server, alice: Path) -> None:
    with server.client() as client:
        unknown = {"workspace_name": "no-image", "github_username": "alice", "image": "no-such-image"}
        assert client.post("/workspaces", json=unknown).json()["error"] == "unknown_image"
