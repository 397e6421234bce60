"""What the demo and the benchmarks share: a server of their own, and the way to a working ssh, timed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Container, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
NEXUS = ROOT / ".venv" / "bin" / "nexus"
PROJECT = "nexus"
IMAGE = "nexus-base"
_DEADLINE = 60.0
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # servers that this process started, by process id


@dataclass(frozen=True)
class Server:
    """A running ``nexus serve`` and the administrator's way to it; ``settings`` are the variables it was given."""

    url: str
    state: Path
    pid: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def token(self) -> str:
        return (self.state / "admin-token").read_text(encoding="ascii").strip()

    def client(self, token: str | None = None) -> httpx.Client:
        """An HTTP client with the administrator's token, or another."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=_DEADLINE)

    def environment(self) -> dict[str, str]:
        """What the command line needs to find this server."""
        return {**os.environ, "NEXUS_URL": self.url, "NEXUS_STATE_DIR": str(self.state)}


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def start_server(
    state: Path,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    healthy: Container[str] = ("ok",),
) -> Server:
    """Start a server on this state directory and a free port of loopback, and wait until it says it is healthy.

    ``settings`` are ``NEXUS_…`` variables; others that are set here do not reach it. ``healthy`` is what
    counts as such.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environment |= settings or {}
    with (state / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [NEXUS, "serve", "--listen", f"127.0.0.1:{port}", "--state-dir", state],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for us, not for the server
        )
    _CHILDREN[process.pid] = process
    deadline = time.monotonic() + _DEADLINE
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/v1/health", timeout=5).json()["status"] in healthy:
                break
        if process.poll() is not None or time.monotonic() > deadline:
            tail = (state / "server.log").read_text(errors="replace").splitlines()[-15:]
            process.kill()
            raise SystemExit("\n".join(["the server did not come up; the end of its log:", *tail]))
        time.sleep(0.05)
    server = Server(url, state, process.pid, settings or {})
    (state / "server.json").write_text(json.dumps({"url": url, "pid": process.pid}))
    return server


def running_server(state: Path) -> Server | None:
    """The server that an earlier run left on this state directory, if it still answers."""
    with suppress(OSError, ValueError, KeyError, httpx.TransportError):
        left = json.loads((state / "server.json").read_text())
        if httpx.get(f"{left['url']}/api/v1/health", timeout=5).status_code == 200:
            return Server(left["url"], state, left["pid"])
    return None


def stop_server(server: Server) -> None:
    """Ask the server to stop and wait until it has."""
    child = _CHILDREN.pop(server.pid, None)
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGTERM)
    if child is not None:
        child.wait(_DEADLINE)
        return
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        try:
            os.kill(server.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise SystemExit(f"the server (process {server.pid}) did not stop within {_DEADLINE:.0f} s of SIGTERM")


def kill_server(server: Server) -> None:
    """End the server as a crash would, without a word."""
    child = _CHILDREN.pop(server.pid)
    child.kill()
    child.wait()


@contextmanager
def fresh_server(state: Path) -> Generator[Server]:
    """A server on an empty state directory, stopped in the end."""
    shutil.rmtree(state, ignore_errors=True)
    server = start_server(state)
    try:
        yield server
    finally:
        stop_server(server)
        forget(server)


def forget(server: Server) -> None:
    """Remove the forwards of a stopped server that will not come back: they live in the kernel, not with it."""
    with closing(sqlite3.connect(server.state / "nexus.db")) as database:
        (server_id,) = database.execute("SELECT id FROM server").fetchone()
    subprocess.run(["nft", "delete", "table", "ip", f"nexus_{server_id}"], check=False, capture_output=True)


def make_key(folder: Path, name: str) -> Path:
    """A key pair made for the occasion; the path of the private half."""
    path = folder / name
    for one in (path, path.with_suffix(".pub")):
        one.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def register(server: Server, name: str, github_id: int, key: Path) -> None:
    """Register a user with this key; one that is registered gets the key instead of its old one."""
    public = key.with_suffix(".pub").read_text()
    with server.client() as client:
        body = {"github_username": name, "github_id": github_id, "ssh_pubkey": public}
        answer = client.post("/users/register-github", json=body)
        if answer.status_code == 409:
            answer = client.put(f"/users/{name}/ssh-key", json={"ssh_pubkey": public})
        answer.raise_for_status()


def ssh_arguments(workspace: dict[str, Any], key: Path, known_hosts: Path) -> list[str]:
    """The real client's command line for this workspace, with its host key known beforehand."""
    ssh = workspace["ssh"]
    known_hosts.write_text(f"[{ssh['host']}]:{ssh['port']} {ssh['host_key']}\n")
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "ConnectTimeout": "10",
        "LogLevel": "ERROR",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *flags, "-i", str(key), "-p", str(ssh["port"]), f"{ssh['user']}@{ssh['host']}"]


def create(client: httpx.Client, owner: str, name: str) -> dict[str, Any]:
    """Create a workspace and poll until it runs; the workspace as the API shows it."""
    answer = client.post("/workspaces", json={"workspace_name": name, "github_username": owner})
    answer.raise_for_status()
    address = f"/workspaces/{answer.json()['workspace_id']}"
    return wait_for(client, address, "running")


def wait_for(client: httpx.Client, address: str, status: str, *, patience: float = _DEADLINE) -> dict[str, Any]:
    """Poll until the workspace has this status; the workspace as the API shows it."""
    deadline = time.monotonic() + patience
    while True:
        shown: dict[str, Any] = client.get(address).json()
        if shown["status"] == status:
            return shown
        if shown["status"] == "error":
            raise SystemExit(f"the workspace ended in error: {shown['error']['message']}")
        if time.monotonic() > deadline:
            raise SystemExit(f"the workspace is still {shown['status']} after {patience:.0f} s")
        time.sleep(0.01)


def delete(client: httpx.Client, workspace_id: str) -> None:
    """Remove a workspace and wait until it is gone."""
    client.delete(f"/workspaces/{workspace_id}", params={"force": "true"}).raise_for_status()


def creation_to_ssh(server: Server, owner: str, key: Path, name: str) -> tuple[float, dict[str, float]]:
    """Seconds from asking for a workspace to a command that has run over ssh, and the share of each step.

    The workspace is removed afterwards; that is not counted.
    """
    with server.client() as client:
        began = time.perf_counter()
        workspace = create(client, owner, name)
        shown = time.perf_counter()
        command = [*ssh_arguments(workspace, key, server.state / "known_hosts.bench"), "true"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        ended = time.perf_counter()
        steps = {step["step"]: step["duration_ms"] / 1000 for step in workspace["progress"] if step["duration_ms"]}
        steps["ssh login and `true`"] = ended - shown
        delete(client, workspace["workspace_id"])
    return ended - began, steps


def by_hand(key: Path, folder: Path, name: str) -> float:
    """Seconds for the same with ``lxc``, as a person would do it who knows the way."""

    def lxc(*arguments: str, **more: Any) -> None:
        command = ["lxc", "--project", PROJECT, *arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more)

    port = free_port()
    began = time.perf_counter()
    try:
        lxc("launch", "--quiet", IMAGE, name)
        listen, connect = f"listen=tcp:127.0.0.1:{port}", "connect=tcp:127.0.0.1:22"
        lxc("config", "device", "add", name, "ssh", "proxy", listen, connect)
        lxc("exec", name, "--", "ssh-keygen", "-q", "-A")
        public = key.with_suffix(".pub")
        target = f"{name}/home/dev/.ssh/authorized_keys"
        lxc("file", "push", "--quiet", "--uid=1000", "--gid=1000", "--mode=0600", str(public), target)
        known_hosts = folder / "known_hosts.by-hand"
        known_hosts.unlink(missing_ok=True)
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no"]
        options += [f"UserKnownHostsFile={known_hosts}", "LogLevel=ERROR"]
        flags = [part for option in options for part in ("-o", option)]
        command = ["ssh", "-F", "/dev/null", *flags, "-i", str(key), "-p", str(port), "dev@127.0.0.1", "true"]
        deadline = time.monotonic() + _DEADLINE
        while subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise SystemExit("ssh into the container made by hand did not work")
            time.sleep(0.05)
        return time.perf_counter() - began
    finally:
        subprocess.run(
            ["lxc", "--project", PROJECT, "delete", "--force", name],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


def instance(name: str) -> dict[str, Any]:
    """LXD's own record of a workspace's container."""
    query = ["lxc", "query", f"/1.0/instances/{name}?project={PROJECT}"]
    record: dict[str, Any] = json.loads(subprocess.run(query, check=True, capture_output=True).stdout)
    return record


def lxd_answers() -> bool:
    """Whether the LXD that the set-up prepares can be asked."""
    if shutil.which("lxc") is None:
        return False
    query = ["lxc", "query", f"/1.0/projects/{PROJECT}"]
    return subprocess.run(query, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def say(text: str = "") -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
