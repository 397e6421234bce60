"""Measures Nexus against the limit of the same machine in the same run; writes docs/reports/bench.{json,md}.

Medians of repeated runs; every load is bounded. A figure is given with its limit (the same work without
Nexus) and the ratio of the two: ratios can be compared between machines, figures cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_services
import measure
from figures import Figure, figure
from measure import say

from nexus_core.domain.host_ports import Lease, PortKind, PortRange
from nexus_sqlite.store import SqliteStore

REPORTS = measure.ROOT / "docs" / "reports"
CLIENTS = 10


def main() -> None:
    """Run every benchmark and write the report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--creations", type=int, default=5)
    arguments.add_argument("--requests", type=int, default=2000)
    arguments.add_argument("--workspaces", type=int, default=50, help="of five services each, to be looked after")
    options = arguments.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, measure.fresh_server(Path(folder) / "state") as server:
        key = measure.make_key(Path(folder), "bench")
        measure.register(server, "bench", 1, key)
        figures.append(creations(server, key, Path(folder), options.creations))
        figures.append(burst(server, 10))
        figures += asyncio.run(requests(server, options.requests))
        figures += bench_services.all_of(server, options.workspaces)
        figures += store(Path(folder))
    report(figures)


def creations(server: measure.Server, key: Path, folder: Path, count: int) -> Figure:
    """From asking to a command that has run over ssh, one at a time."""
    totals: list[float] = []
    steps: dict[str, list[float]] = {}
    for number in range(count):
        total, parts = measure.creation_to_ssh(server, "bench", key, f"bench-{number}")
        totals.append(total)
        for step, seconds in parts.items():
            steps.setdefault(step, []).append(seconds)
    hands = [measure.by_hand(key, folder, f"bench-by-hand-{number}") for number in range(3)]
    made = figure("create to a working ssh", totals, limit="the same by hand with lxc", limits=hands)
    made.parts_ms = {step: round(statistics.median(seconds) * 1000, 1) for step, seconds in steps.items()}
    return made


def burst(server: measure.Server, count: int) -> Figure:
    """Several asked for at once, until each runs."""
    began = time.perf_counter()
    with server.client() as client:
        asked = [
            client.post("/workspaces", json={"workspace_name": f"burst-{number}", "github_username": "bench"}).json()
            for number in range(count)
        ]
        ended: dict[str, float] = {}
        while len(ended) < count and time.perf_counter() - began < 120:
            for one in client.get("/workspaces", params={"status": "running"}).json()["workspaces"]:
                ended.setdefault(one["workspace_id"], time.perf_counter() - began)
            time.sleep(0.02)
        for one in asked:
            measure.delete(client, one["workspace_id"])
    made = figure(f"{count} created at once, each until it runs", list(ended.values()))
    made.parts_ms = {"a workspace every": round(max(ended.values()) / count * 1000, 1)}
    return made


async def requests(server: measure.Server, count: int) -> list[Figure]:
    """Reads and writes of ten clients at once, beside a bare server that answers from memory."""
    head = f"Host: nexus\r\nAuthorization: Bearer {server.token}\r\n"
    port = int(server.url.rpartition(":")[2])
    with bare_server() as bare:
        limits = await load(bare, lambda _: f"GET / HTTP/1.1\r\n{head}\r\n", count)
    read = await load(port, lambda _: f"GET /api/v1/users/bench HTTP/1.1\r\n{head}\r\n", count)
    listing = await load(port, lambda _: f"GET /api/v1/workspaces HTTP/1.1\r\n{head}\r\n", count)

    def write(number: int) -> str:
        body = json.dumps({"label": f"bench {number}"})
        head_ = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"POST /api/v1/users/bench/tokens HTTP/1.1\r\n{head_}\r\n{body}"

    written = await load(port, write, count // 4)
    limit = "a bare uvicorn answer"
    return [
        figure("read a user, 10 clients", read, limit=limit, limits=limits),
        figure("list workspaces, 10 clients", listing, limit=limit, limits=limits),
        figure("write (issue a token), 10 clients", written, limit=limit, limits=limits),
    ]


async def load(port: int, request: Callable[[int], str], count: int) -> list[float]:
    """Seconds per request, sent by clients that each wait for an answer before the next."""
    taken: list[float] = []
    numbers = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            began = time.perf_counter()
            writer.write(request(number).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - began)
            if status >= 400:
                raise SystemExit(f"a measured request was answered with {status}")
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return taken


class bare_server:  # noqa: N801  # reads as the function it stands for
    """The least that answers HTTP with the same server software: the limit for a request."""

    _APP = """
import uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    body = b'{"ok":true}'
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"11")]})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(__import__("sys").argv[1]), log_level="error", access_log=False, lifespan="off")
"""

    def __enter__(self) -> int:
        port = measure.free_port()
        self._process = subprocess.Popen([sys.executable, "-c", self._APP, str(port)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return port
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the bare server did not come up")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def store(folder: Path) -> list[Figure]:
    """A lease taken and given back, beside the barest durable write of the same disk."""
    barest: list[float] = []
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (x INTEGER)")
    for number in range(500):
        began = time.perf_counter()
        database.execute("INSERT INTO t VALUES (?)", (number,))
        barest.append(time.perf_counter() - began)
    database.close()
    leases = SqliteStore.open(folder / "leases.db", key=bytes(32))
    taken: list[float] = []
    ports = PortRange(2222, 2299)
    workspace_id = seeded_workspace(leases)
    now = datetime.now(UTC)
    for _ in range(500):
        began = time.perf_counter()
        with leases.transaction() as records:
            port = ports.lowest_free(records.leases.held(PortKind.SSH))
            records.leases.take(Lease(port, PortKind.SSH, workspace_id, now))
        taken.append(time.perf_counter() - began)
        with leases.transaction() as records:
            records.leases.release(workspace_id, now)
    leases.close()
    return [figure("take a port lease", taken, limit="one durable SQLite insert", limits=barest)]


def seeded_workspace(store_: SqliteStore) -> str:
    """A workspace for leases to belong to."""
    from nexus_core.domain.lifecycle import Status
    from nexus_core.domain.resources import Resources
    from nexus_core.domain.user import PublicKey, User
    from nexus_core.domain.workspace import Workspace

    now = datetime.now(UTC)
    user = User("user-bench", "bench", 1, None, PublicKey("ssh-ed25519 AAAA", "SHA256:bench"), now, now)
    workspace = Workspace(
        id="ws-bench",
        owner_id=user.id,
        owner=user.name,
        name="bench",
        status=Status.PENDING,
        provider="lxc",
        image="nexus-base",
        resources=Resources(1, "1GiB", "1GiB"),
        ssh_port=None,
        container_id="nexus-bench",
        node=None,
        created_at=now,
        updated_at=now,
    )
    with store_.transaction() as records:
        records.users.add(user)
        records.workspaces.add(workspace)
    return workspace.id


def report(figures: list[Figure]) -> None:
    """Show the figures, and keep them."""
    machine = {
        "at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "lxd": subprocess.run(["lxd", "--version"], capture_output=True, text=True, check=False).stdout.strip(),
    }
    rows: list[dict[str, Any]] = [{**asdict(one), "ratio": one.ratio} for one in figures]
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "bench.json").write_text(json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n")
    lines = [
        "# Benchmark",
        "",
        "Made by `make bench`; " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".",
        "Medians in milliseconds; a ratio is the median divided by the limit's, measured in the same run.",
        "",
        "| what | median | p99 | runs | limit | its median | ratio |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    for one in figures:
        limit_ms = f"{one.limit_ms:.2f}" if one.limit_ms else ""
        cells = [one.name, f"{one.median_ms:.2f}", f"{one.p99_ms:.2f}", str(one.count), one.limit, limit_ms, one.ratio]
        lines.append("| " + " | ".join(cells) + " |")
        lines += [f"| · {part} | {value:.1f} | | | | | |" for part, value in one.parts_ms.items()]
    text = "\n".join(lines) + "\n"
    (REPORTS / "bench.md").write_text(text)
    say(text)


if __name__ == "__main__":
    main()
