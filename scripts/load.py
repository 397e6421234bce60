"""How the server bears load, on the real LXD: fifty creations at once, mixed work, clients that misbehave, wear."""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import measure

OWNER = "load"
_LASTING = ("running", "stopped", "error")
_READERS = 4
_MISBEHAVING = 5.0  # seconds
_PAUSE = 0.02  # between two reads of one reader, so that it is the server that is measured and not the readers


@dataclass
class Reads:
    """How long reads take while something else goes on."""

    seconds: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])

    def at(self, share: float) -> float:
        """The time within which this share of the reads was answered, in milliseconds."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000


class Watch:
    """Readers that go on asking while a block runs; the memory and open files of the server beside it."""

    def __init__(self, server: measure.Server, path: str = "/workspaces?limit=50") -> None:
        self._server = server
        self._path = path
        self._over = threading.Event()
        self.reads = Reads()

    def __enter__(self) -> Reads:
        self._pool = ThreadPoolExecutor(_READERS)
        self._asking = [self._pool.submit(self._ask) for _ in range(_READERS)]
        return self.reads

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._asking:
            one.result()
        self._pool.shutdown()

    def _ask(self) -> None:
        with self._server.client() as client:
            while not self._over.wait(_PAUSE):
                began = time.perf_counter()
                try:
                    answer = client.get(self._path)
                except httpx.HTTPError as error:
                    self.reads.failures.append(type(error).__name__)
                    continue
                self.reads.seconds.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    self.reads.failures.append(str(answer.status_code))


def resident(pid: int) -> float:
    """Mebibytes of memory that the process has."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def descriptors(pid: int) -> int:
    """How many files the process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def say_reads(name: str, reads: Reads, idle: Reads | None = None) -> None:
    """One line about reads."""
    ratio = "" if idle is None else f"   p99 {reads.at(0.99) / idle.at(0.99):.1f} x idle"
    failed = f"   {len(reads.failures)} FAILED {Counter(reads.failures)}" if reads.failures else ""
    p50, p99 = reads.at(0.5), reads.at(0.99)
    measure.say(f"  {name:34} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   {len(reads.seconds)} reads{ratio}{failed}")


def created_at_once(server: measure.Server, count: int) -> list[str]:
    """The workspaces that were asked for at once, all running; what became of each is told."""
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool, server.client() as client:
        identities = list(pool.map(partial(_accept, client), (f"burst-{n}" for n in range(count))))
        accepted = time.perf_counter() - began
        queued = [client.get(f"/workspaces/{one}").json()["queue_position"] for one in identities]
        ends = [_settled(client, one) for one in identities]
    took = time.perf_counter() - began
    places = sorted(place for place in queued if place is not None)
    in_order = places == list(range(places[0], places[0] + len(places))) if places else True
    measure.say(
        f"  {count} created at once: accepted in {accepted:.1f} s, {Counter(ends)} after {took:.1f} s "
        f"({took / count:.2f} s each); places in the queue told: {len(places)}, {'in' if in_order else 'OUT OF'} order"
    )
    return identities


def mixed(server: measure.Server, identities: list[str], operations: int, clients: int, seed: int) -> None:
    """So many operations of several clients on these workspaces at once; every refusal is counted by its code."""
    outcomes: Counter[str] = Counter()
    turns = iter(range(operations))
    taking = threading.Lock()

    def work(number: int) -> None:
        chance = random.Random(seed * 1000 + number)  # noqa: S311  # no secret: it is to be repeatable
        with server.client() as client:
            while True:
                with taking:
                    if next(turns, None) is None:
                        return
                one = chance.choice(identities)
                asked = chance.choice(["start", "stop", "stop", "start", "show", "list", "logs"])
                outcomes[_ask(client, asked, one)] += 1

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(work, number) for number in range(clients)]:
            done.result()
    measure.say(f"  {operations} mixed operations of {clients} clients in {time.perf_counter() - began:.1f} s:")
    for outcome, count in sorted(outcomes.items()):
        measure.say(f"    {outcome:44} {count}")


def cycles(server: measure.Server, count: int, at_once: int) -> None:
    """Create, use and delete over and over; memory and open files before, on the way and after."""
    measure.say(f"  {'cycles':>8} {'MiB':>7} {'files':>6}")
    with server.client() as client, ThreadPoolExecutor(at_once) as pool:
        for done in range(0, count + 1, max(at_once, count // 6)):
            if done:
                size = max(at_once, count // 6)
                ends = Counter(pool.map(partial(_cycle, client), (f"cycle-{n}" for n in range(done - size, done))))
                failed = {end: number for end, number in ends.items() if end != "deleted"}
                if failed:
                    measure.say(f"    FAILED {failed}")
            time.sleep(1)  # what has just ended is let go
            measure.say(f"  {done:8} {resident(server.pid):7.0f} {descriptors(server.pid):6}")


def misbehaving(server: measure.Server, connections: int) -> dict[str, Reads]:
    """Reads of others while clients hold connections, send slowly, or do not read what they asked for."""
    host, port = server.url.removeprefix("http://").split(":")
    head = f"GET /schema/openapi.json HTTP/1.1\r\nHost: {host}\r\n"
    ways = {
        f"{connections} open connections": (connections, [""]),
        "100 that send a byte at a time": (100, list(head)),
        "100 that read nothing": (100, [f"{head}\r\n" * 20]),
    }
    found: dict[str, Reads] = {}
    for name, (count, pieces) in ways.items():
        with ExitStack() as held, Watch(server) as reads:
            sockets = [
                held.enter_context(socket.create_connection((host, int(port)), timeout=10)) for _ in range(count)
            ]
            ends = time.monotonic() + _MISBEHAVING
            for piece in pieces:
                for sock in sockets:
                    with suppress(OSError):
                        sock.send(piece.encode())
                time.sleep(_MISBEHAVING / len(pieces))
            time.sleep(max(0, ends - time.monotonic()))
        found[name] = reads
    return found


def _accept(client: httpx.Client, name: str) -> str:
    asked = {"workspace_name": name, "github_username": OWNER}
    answer = client.post("/workspaces", json=asked).raise_for_status()
    identity: str = answer.json()["workspace_id"]
    return identity


def _settled(client: httpx.Client, identity: str) -> str:
    while True:
        status: str = client.get(f"/workspaces/{identity}").json()["status"]
        if status in _LASTING:
            return status
        time.sleep(0.2)


def _ask(client: httpx.Client, asked: str, identity: str) -> str:
    path = {
        "start": f"/workspaces/{identity}/start",
        "stop": f"/workspaces/{identity}/stop",
        "show": f"/workspaces/{identity}",
        "list": "/workspaces",
        "logs": f"/workspaces/{identity}/logs",
    }[asked]
    method = "POST" if asked in ("start", "stop") else "GET"
    answer = client.request(method, path, params={"force": "true"} if asked == "stop" else None)
    code = "" if answer.status_code < 400 else f" {answer.json()['error']}"
    return f"{asked} {answer.status_code}{code}"


def _cycle(client: httpx.Client, name: str) -> str:
    identity = _accept(client, name)
    if _settled(client, identity) != "running":
        return f"{client.get(f'/workspaces/{identity}').json()['error']}"
    client.get(f"/workspaces/{identity}/logs").raise_for_status()
    client.delete(f"/workspaces/{identity}", params={"force": "true"}).raise_for_status()
    return "deleted"


def main() -> None:
    """Measure, and print what docs/reference/limits.md reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspaces", type=int, default=50)
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--cycles", type=int, default=240)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        key = measure.make_key(Path(folder), OWNER)
        with measure.fresh_server(Path(folder) / "state") as server:
            measure.register(server, OWNER, 1, key)
            with server.client() as client:
                warm = _accept(client, "warm")
                _settled(client, warm)
            measure.say(f"idle: {resident(server.pid):.0f} MiB, {descriptors(server.pid)} open files")
            with Watch(server) as idle:
                time.sleep(8)
            say_reads("reads of an idle server", idle)
            with Watch(server) as busy:
                identities = created_at_once(server, chosen.workspaces)
            say_reads(f"while {chosen.workspaces} are created", busy, idle)
            measure.say(f"then: {resident(server.pid):.0f} MiB, {descriptors(server.pid)} open files")
            with Watch(server) as rest:
                time.sleep(4)
            say_reads(f"with {chosen.workspaces} running, at rest", rest)
            with Watch(server) as busy:
                mixed(server, identities, chosen.operations, clients=20, seed=chosen.seed)
            say_reads("meanwhile", busy, rest)
            for name, reads in misbehaving(server, chosen.connections).items():
                say_reads(name, reads, rest)
            with server.client() as client, ThreadPoolExecutor(8) as pool:
                ends = Counter(pool.map(partial(_settled, client), identities))
                measure.say(f"  at rest: {dict(ends)}")
                list(pool.map(partial(measure.delete, client), identities))
            measure.say(f"deleted: {resident(server.pid):.0f} MiB, {descriptors(server.pid)} open files")
            cycles(server, chosen.cycles, at_once=4)
            measure.say(f"median of the idle reads: {statistics.median(idle.seconds) * 1000:.2f} ms")


if __name__ == "__main__":
    main()
