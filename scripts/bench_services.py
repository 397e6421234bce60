"""What services cost: starting them in order, looking after them, and the way to them."""

from __future__ import annotations

import os
import random
import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import measure
from figures import Figure, figure

OWNER = "bench"
_WAIT = 2  # seconds that each service of a graph sleeps before it listens
_LOOKED_AT = 30  # seconds that services are looked after while the processor time is counted
_MEGABYTES = 2048
_SENDER = f"""
import socket
listener = socket.create_server(("127.0.0.1", 7500))
block = bytes(1 << 20)
while True:
    client, _ = listener.accept()
    with client:
        if client.recv(1):
            for _ in range({_MEGABYTES}):
                client.sendall(block)
"""


def all_of(server: measure.Server, workspaces: int) -> list[Figure]:
    """Every figure about services."""
    with server.client() as client:
        return [
            graph(client, "a chain of 4 services", {f"s{n}": [f"s{n - 1}"] if n else [] for n in range(4)}, 4),
            graph(client, "30 services in 5 levels", _levels(30, 5), 5),
            throughput(client),
            looking_after(client, server.pid, workspaces),
        ]


def graph(client: httpx.Client, name: str, needs: dict[str, list[str]], longest: int) -> Figure:
    """Services that each sleep before they listen, beside the longest way through what they need."""
    services = [
        {
            "name": one,
            "command": f"sleep {_WAIT}; exec python3 -m http.server --bind 127.0.0.1 {7000 + number}",
            "port": 7000 + number,
            "depends_on": wanted,
            "expose": False,
        }
        for number, (one, wanted) in enumerate(needs.items())
    ]
    workspace = _create(client, "graph", services)
    steps = {step["step"]: step["duration_ms"] / 1000 for step in workspace["progress"] if step["duration_ms"]}
    measure.delete(client, workspace["workspace_id"])
    limit = f"the longest path, {longest} x {_WAIT} s of sleep"
    return figure(f"{name}, until all are healthy", [steps["start_services"]], limit=limit, limits=[longest * _WAIT])


def throughput(client: httpx.Client) -> Figure:
    """Data from a service on localhost only, through its forward, beside what crosses the bridge directly."""
    direct = _SENDER.replace("127.0.0.1", "0.0.0.0").replace("7500", "7501")  # noqa: S104  # inside the container
    services = [
        {"name": "forwarded", "command": f"exec python3 -c '{_SENDER}'", "port": 7500},
        {"name": "direct", "command": f"exec python3 -c '{direct}'", "port": 7501, "expose": False},
    ]
    workspace = _create(client, "sender", services)
    address = _address_of(workspace)
    mapped = workspace["services"]["forwarded"]["mapped_port"]
    taken = [(_receive("127.0.0.1", mapped), _receive(address, 7501)) for _ in range(3)]
    measure.delete(client, workspace["workspace_id"])
    name = f"{_MEGABYTES} MiB through a forward"
    forwards, directs = [one for one, _ in taken], [other for _, other in taken]
    return figure(name, forwards, limit="from the container's own address", limits=directs)


def looking_after(client: httpx.Client, pid: int, count: int) -> Figure:
    """Processor time of the server in each second, with five services in each of these workspaces."""
    services = [
        {
            "name": f"s{number}",
            "command": f"exec python3 -m http.server --bind 127.0.0.1 {7000 + number}",
            "port": 7000 + number,
            "expose": False,
            "health_check": {"type": "http" if number % 2 else "tcp"},
        }
        for number in range(5)
    ]
    asked = [_accept(client, f"looked-{number}", services) for number in range(count)]
    for one in asked:
        measure.wait_for(client, f"/workspaces/{one}", "running", patience=300)
    time.sleep(5)
    idle = [_processor_seconds(pid)]
    for _ in range(_LOOKED_AT):
        time.sleep(1)
        idle.append(_processor_seconds(pid))
    for one in asked:
        measure.delete(client, one)
    seconds = [after - before for before, after in pairwise(idle)]
    mean = sum(seconds) / len(seconds)
    made = figure(f"processor time a second, looking after {5 * count} services every 5 s", [mean])
    made.p99_ms = max(seconds) * 1000
    return made


def _levels(count: int, depth: int) -> dict[str, list[str]]:
    """A graph of so many services and levels, each needing two of the level before; always the same one."""
    choose = random.Random(3)  # noqa: S311  # not for secrets
    levels = [[f"s{number:02}" for number in range(count) if number % depth == level] for level in range(depth)]
    return {
        one: choose.sample(levels[level - 1], 2) if level else [] for level, names in enumerate(levels) for one in names
    }


def _accept(client: httpx.Client, name: str, services: list[dict[str, Any]]) -> str:
    body = {"workspace_name": name, "github_username": OWNER, "services": services}
    answer = client.post("/workspaces", json=body)
    answer.raise_for_status()
    workspace_id: str = answer.json()["workspace_id"]
    return workspace_id


def _create(client: httpx.Client, name: str, services: list[dict[str, Any]]) -> dict[str, Any]:
    return measure.wait_for(client, f"/workspaces/{_accept(client, name, services)}", "running")


def _address_of(workspace: dict[str, Any]) -> str:
    told: str = measure.instance(workspace["container_id"])["config"]["user.nexus.address"]
    return told.partition("/")[0]


def _receive(address: str, port: int) -> float:
    """Seconds until everything has come."""
    left = _MEGABYTES << 20
    buffer = bytearray(1 << 20)
    with socket.create_connection((address, port)) as connection:
        connection.sendall(b"x")
        began = time.perf_counter()
        while left > 0:
            left -= connection.recv_into(buffer)
        return time.perf_counter() - began


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
