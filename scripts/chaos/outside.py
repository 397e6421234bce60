"""What is really there, asked of SQLite, LXD, the kernel and ssh themselves, and never through the program."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import measure
from own_lxd import PROJECT

from chaos.world import World

SERVER_MARK, WORKSPACE_MARK = "user.nexus.server", "user.nexus.workspace"
TRANSIENT = frozenset({"pending", "creating", "starting", "stopping", "deleting"})

Row = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """One look at everything that can be listed."""

    workspaces: list[Row]
    services: list[Row]
    leases: list[Row]
    unfinished: list[Row]
    keys: list[Row]
    users: dict[str, str]
    integrity: list[str]
    containers: list[Row]
    published: dict[int, tuple[str, int]]

    def of(self, workspace_id: str) -> list[Row]:
        """The services of one workspace."""
        return [one for one in self.services if one["workspace_id"] == workspace_id]


def look(world: World) -> Facts:
    """Ask everybody once; raises `RuntimeError` while LXD does not answer."""
    listed = world.lxd.lxc("query", f"/1.0/instances?recursion=1&project={PROJECT}")
    server_id = world.server_id
    containers = [one for one in json.loads(listed) if one["config"].get(SERVER_MARK) == server_id]
    with world.database() as database:
        database.row_factory = sqlite3.Row

        def rows(query: str) -> list[Row]:
            return [dict(row) for row in database.execute(query)]

        return Facts(
            workspaces=rows("SELECT workspaces.*, github_username FROM workspaces JOIN users ON users.id = user_id"),
            services=rows("SELECT * FROM services ORDER BY workspace_id, position"),
            leases=rows("SELECT * FROM port_allocations WHERE released_at IS NULL"),
            unfinished=rows("SELECT * FROM operations WHERE status IN ('queued', 'running')"),
            keys=rows("SELECT * FROM idempotency_keys"),
            users={row["github_username"]: row["public_key"] for row in rows("SELECT * FROM users")},
            integrity=[one for row in rows("PRAGMA integrity_check") for one in row.values() if one != "ok"],
            containers=containers,
            published=_published(server_id),
        )


def settled(world: World) -> bool:
    """Whether no work is under way and nothing is on the way to something else, as the database tells."""
    with world.database() as database:
        marks = ", ".join("?" * len(TRANSIENT))
        query = f"SELECT count(*) FROM workspaces WHERE status IN ({marks})"  # noqa: S608  # only question marks
        (moving,) = database.execute(query, sorted(TRANSIENT)).fetchone()
        unfinished = "SELECT count(*) FROM operations WHERE status IN ('queued', 'running')"
        (operations,) = database.execute(unfinished).fetchone()
    return not moving and not operations


def running(world: World, owner: str = "") -> list[Row]:
    """The rows of one person's running workspaces, or of everybody's."""
    query = """
        SELECT workspaces.* FROM workspaces JOIN users ON users.id = user_id
        WHERE status = 'running' AND ? IN ('', github_username)
    """
    with world.database() as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query, [owner])]


def event_times(world: World, workspace_id: str) -> list[tuple[float, str]]:
    """When the workspace took each status, oldest first."""
    query = "SELECT at, data FROM events WHERE workspace_id = ? AND kind = 'status' ORDER BY id"
    with world.database() as database:
        return [(at / 1e6, json.loads(data)["status"]) for at, data in database.execute(query, [workspace_id])]


def says(world: World, workspace: Row, key: Path, command: str) -> tuple[int, str]:
    """Exit code and words of a command run over the real ``ssh``; 255 if it does not get in."""
    where = {"host": "127.0.0.1", "port": workspace["ssh_port"], "host_key": workspace["host_key"], "user": "dev"}
    known_hosts = world.folder / f"known_hosts.{workspace['id']}.{threading.get_ident()}"
    arguments = measure.ssh_arguments({"ssh": where}, key, known_hosts)
    try:
        done = subprocess.run(
            [*arguments, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 255, "no answer within 30 s"
    return done.returncode, (done.stdout + done.stderr).strip()


def page(port: int) -> str:
    """What a service answers through its forward."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text.strip()
    except httpx.TransportError as error:
        return repr(error)


def refuses(port: int) -> bool:
    """Whether nobody can connect to this port of the host."""
    try:
        socket.create_connection(("127.0.0.1", port), 3).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def left_processes(sessions: list[int]) -> list[str]:
    """The command lines of processes that belong to one of these sessions, each begun by a server."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(words[3]) in sessions and words[0] != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def _published(server_id: str) -> dict[int, tuple[str, int]]:
    """The host ports in both maps of the server's table, and where they lead."""
    table = f"nexus_{server_id}".replace("-", "_")
    command = ["nft", "-j", "list", "table", "ip", table]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {}
    found: dict[int, tuple[str, int]] = {}
    for entry in json.loads(done.stdout)["nftables"]:
        for key, value in entry.get("map", {}).get("elem", []):
            port = key if isinstance(key, int) else key["concat"][1]
            address, inner = value["concat"]
            found[port] = (address, inner)
    return found
