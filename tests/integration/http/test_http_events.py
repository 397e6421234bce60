"""Events over HTTP, read by a real client of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

import httpx
import jsonschema_rs
import pytest
from httpx_sse import EventSource, ServerSentEvent

import served
from nexus_core.domain.host_ports import PortRange
from nexus_core.policy import Policy
from nexus_core.ports.records import Event
from nexus_http import connections, readers
from served import ADMIN_TOKEN, Listening, Site, bearer, until

ID = "ws-000000000001"
WEB = f"/workspaces/{ID}"
OF_WEB = f"{WEB}/events"
ALL = "/events"
STREAM = "text/event-stream; charset=utf-8"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A server that has room for many workspaces."""
    async with served.site(Policy(ssh_ports=PortRange(2222, 2299))) as one:
        yield one


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Listening]:
    """The application behind a socket."""
    async with served.listening(site.app, grace=30) as one:
        yield one


@pytest.fixture
async def ticking(site: Site) -> AsyncIterator[None]:
    """Time that passes by itself."""

    async def tick() -> None:
        while True:
            await site.world.clock.advance(0.05)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(tick())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def client_of(server: Listening, token: str = ADMIN_TOKEN) -> httpx.AsyncClient:
    """The holder of the token, over the socket."""
    return httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=bearer(token), timeout=20)


def token_of(site: Site, name: str) -> str:
    """A token of a user, who is registered if need be."""
    caller = site.world.register(name)
    return site.world.nexus.issue_token(caller, name, label="events")[1]


@contextlib.asynccontextmanager
async def following(
    client: httpx.AsyncClient, path: str, after: int | None = None
) -> AsyncGenerator[AsyncGenerator[ServerSentEvent, None]]:
    """A stream whose head is as it should be."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (STREAM, "no-store")
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "X-Request-ID" in answer.headers
        async with contextlib.aclosing(EventSource(answer).aiter_sse()) as events:
            yield events


async def taken(events: AsyncIterator[ServerSentEvent], many: int) -> list[ServerSentEvent]:
    """The next so many events."""
    return [await asyncio.wait_for(anext(events), 10) for _ in range(many)]


async def rest(events: AsyncIterator[ServerSentEvent]) -> list[ServerSentEvent]:
    """The events up to the end of the stream, which must come."""
    async with asyncio.timeout(20):
        return [one async for one in events]


def written(site: Site, owner: str | None = None) -> list[int]:
    """The ids of all events there are, or of one owner's."""
    with site.world.store.snapshot() as records:
        every = records.events.after(0, limit=1_000_000)
    return [one.id for one in every if owner in (None, one.owner)]


def happen(site: Site, times: int = 1, size: int = 0) -> None:
    """Let something happen to the first workspace."""
    with site.world.store.transaction() as records:
        for _ in range(times):
            data = {"service": "web", "status": "running", "health": "healthy", "error": "x" * size or None}
            records.events.add(Event(ID, "service", site.world.clock.now(), data))


def numbers(events: list[ServerSentEvent]) -> list[int]:
    return [int(one.id) for one in events]


async def running(site: Site, name: str = "alice", workspace: str = "web") -> str:
    """The token of a user with a running workspace."""
    token = token_of(site, name)
    client = await site.client(bearer(token))
    assert (await client.post("/workspaces", json={"workspace_name": workspace})).status_code == 202
    await site.world.idle()
    return token


async def test_what_goes_over_the_wire(site: Site, server: Listening) -> None:
    await running(site)
    reader, writer = await server.connect()
    writer.write(f"GET /api/v1{OF_WEB} HTTP/1.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert "transfer-encoding: chunked" in head
    first = await reader.readuntil(b"\n: heartbeat\n")
    assert first.endswith(b"\r\nretry: 1000\n: heartbeat\n")
    await reader.readuntil(b"\r\n")  # the end of that chunk
    await reader.readuntil(b"\r\n")  # the next one's length
    pending = await reader.readuntil(b"\n\n")
    at = "2026-01-17T10:30:00Z"
    assert pending.decode() == (
        "id: 1\nevent: status\n"
        f'data: {{"id":1,"kind":"status","workspace_id":"{ID}","name":"web","owner":"alice","at":"{at}",'
        '"status":"pending","previous":null,"error":null}\n\n'
    )
    writer.transport.abort()


async def test_a_creation_from_its_beginning_as_it_is_described(site: Site, server: Listening) -> None:
    token = token_of(site, "alice")
    async with client_of(server, token) as alice:
        document = (await alice.get(f"{server.url}/schema/openapi.json")).json()
        services = [{"name": "web", "command": "npm run dev", "port": 3000}]
        asked = {"workspace_name": "web", "setup": ["npm ci"], "services": services}
        assert (await alice.post("/workspaces", json=asked)).status_code == 202
        async with following(alice, OF_WEB) as events:
            await site.world.idle()
            await site.world.clock.advance(0.1)
            told = await taken(events, len(written(site)))
        shown = (await alice.get(WEB)).json()
    assert numbers(told) == written(site)
    assert {one.event for one in told} == {"status", "step", "service"}
    for one in told:
        data = one.json()
        assert (str(data["id"]), data["kind"]) == (one.id, one.event)
        name = {"status": "StatusEvent", "step": "StepEvent", "service": "ServiceEvent"}[one.event]
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(schema, data)
        assert data.keys() == document["components"]["schemas"][name]["properties"].keys()
    statuses = [one.json()["status"] for one in told if one.event == "status"]
    assert statuses == ["pending", "creating", "running"]
    done = [one.json()["step"] for one in told if one.event == "step" and one.json()["status"] == "done"]
    assert done == [one["step"] for one in shown["progress"] if one["status"] == "done"]


async def test_under_load_nothing_is_left_out_and_nothing_told_twice(site: Site, ticking: None) -> None:
    owners = {"alice": token_of(site, "alice"), "bob": token_of(site, "bob"), None: ADMIN_TOKEN}
    heard: dict[str | None, list[int]] = {owner: [] for owner in owners}
    dice, is_over = random.Random(4), False  # noqa: S311  # not for secrets
    servers: list[Listening] = []

    async def come_and_go(owner: str | None) -> None:
        ids = heard[owner]
        await until(lambda: bool(servers))
        async with client_of(servers[-1], owners[owner]) as client:
            while not (is_over and len(servers) > 2 and ids == written(site, owner)):
                with contextlib.suppress(httpx.TransportError, StopAsyncIteration, TimeoutError):
                    url = f"{servers[-1].url}/api/v1{ALL}"
                    async with asyncio.timeout(0.5), following(client, url, after=ids[-1] if ids else 0) as events:
                        for _ in range(dice.randrange(1, 40)):
                            ids.append(int((await anext(events)).id))
                await asyncio.sleep(0)

    async def live(name: str, number: int) -> None:
        client = await site.client(bearer(owners[name]))
        for _ in range(2):
            made = (await client.post("/workspaces", json={"workspace_name": f"w-{number}"})).json()["workspace_id"]
            await asyncio.sleep(dice.random() / 20)
            await client.post(f"/workspaces/{made}/stop")
            assert (await client.delete(f"/workspaces/{made}?force=true")).status_code == 204

    async def serve_again_and_again() -> None:
        while not all(one.done() for one in listeners):
            async with served.listening(site.app) as server:
                servers.append(server)
                await asyncio.sleep(0.3)

    listeners = [asyncio.create_task(come_and_go(owner)) for owner in owners]
    serving = asyncio.create_task(serve_again_and_again())
    await asyncio.gather(*(live(name, number) for name in ("alice", "bob") for number in range(3)))
    is_over = True
    await asyncio.wait_for(asyncio.gather(*listeners), 60)
    await serving
    assert len(written(site)) > 150
    assert heard == {owner: written(site, owner) for owner in owners}


async def test_nobody_hears_of_others(site: Site, server: Listening, ticking: None) -> None:
    await running(site)
    async with client_of(server, token_of(site, "bob")) as bob:
        for path in (OF_WEB, "/workspaces/ws-000000000009/events"):
            answer = await bob.get(path, headers={"Last-Event-ID": "0"})
            assert (answer.status_code, answer.json()["error"]) == (404, "workspace_not_found")
        async with following(bob, ALL, after=0) as events:
            happen(site)
            await bob.post("/workspaces", json={"workspace_name": "his"})
            [first] = await taken(events, 1)
            assert first.json()["owner"] == "bob"
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1") as nobody:
        assert (await nobody.get(ALL)).status_code == 401


async def test_all_events_begin_now(site: Site, server: Listening) -> None:
    token = await running(site)
    last = written(site)[-1]
    async with client_of(server, token) as alice, following(alice, ALL) as events:
        happen(site)
        await site.world.clock.advance(0.1)
        assert numbers(await taken(events, 1)) == [last + 1]


async def test_silence_is_not_silent(site: Site, server: Listening) -> None:
    await running(site)
    async with client_of(server) as client, client.stream("GET", ALL) as answer:
        lines = answer.aiter_lines()
        assert [await anext(lines), await anext(lines)] == ["retry: 1000", ": heartbeat"]
        for _ in range(2):
            await site.world.clock.advance(15)
            assert await asyncio.wait_for(anext(lines), 5) == ": heartbeat"
        happen(site)
        await site.world.clock.advance(0.1)
        assert (await anext(lines)).startswith("id: ")


async def test_a_heartbeat_is_no_event(site: Site, server: Listening) -> None:
    await running(site)
    async with client_of(server) as client, following(client, ALL) as events:
        for _ in range(3):
            await site.world.clock.advance(15)
            happen(site)
            await site.world.clock.advance(0.1)
            [one] = await taken(events, 1)
            assert one.json()["kind"] == "service"


@pytest.mark.parametrize("path", [ALL, OF_WEB])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", ["x"]),
        ("", [""]),
        ("", ["-1"]),
        ("", ["1.5"]),
        ("", ["1" * 21]),
        ("", ["1", "2"]),
        ("last_event_id=x", []),
        ("last_event_id=-1", []),
        ("last_event_id=1.0", []),
        ("last_event_id=99999999999999999999", []),
        ("last_event_id=1&last_event_id=2", []),
        ("last_event_id=x", ["1"]),
        ("since=1", []),
    ],
)
async def test_where_to_go_on_must_be_an_id(site: Site, path: str, query: str, headers: list[str]) -> None:
    await running(site)
    admin = await site.admin()
    answer = await admin.get(f"{path}?{query}", headers=[("Last-Event-ID", value) for value in headers])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    names = {"Last-Event-ID"} if not query else {f"$.{query.partition('=')[0]}"}
    assert answer.json()["details"].keys() == names


async def test_the_header_counts_before_the_query(site: Site, server: Listening) -> None:
    await running(site)
    last = written(site)[-1]
    async with client_of(server) as client:
        async with following(client, f"{ALL}?last_event_id={last - 1}") as events:
            assert numbers(await taken(events, 1)) == [last]
        async with following(client, f"{ALL}?last_event_id=", after=last - 2) as events:
            assert numbers(await taken(events, 2)) == [last - 1, last]
        async with following(client, f"{OF_WEB}?last_event_id=0", after=last - 1) as events:
            assert numbers(await taken(events, 1)) == [last]


async def test_a_gap_is_marked(site: Site, server: Listening) -> None:
    await running(site)
    last = written(site)[-1]
    async with client_of(server) as client:
        for after in (last + 1, 10**20 - 1):
            async with following(client, ALL, after=after) as events:
                [gap] = await taken(events, 1)
                assert (gap.event, gap.id) == ("gap", str(last))
                assert gap.json()["oldest_id"] == 1
                assert gap.json()["newest_id"] == last
                assert gap.json()["last_event_id"] == min(after, 2**63 - 1)
                assert "restored" in gap.json()["message"]
        await site.world.clock.advance(10)
        happen(site, 2)
        with site.world.store.transaction() as records:
            records.events.purge(site.world.clock.now())
        async with following(client, OF_WEB, after=3) as events:
            gap, *told = await taken(events, 3)
            assert gap.json() | {"message": ""} == {
                "kind": "gap",
                "last_event_id": 3,
                "oldest_id": last + 1,
                "newest_id": last + 2,
                "message": "",
            }
            assert "not all events after 3" in gap.json()["message"].lower()
            assert (gap.id, numbers(told)) == (str(last), [last + 1, last + 2])


async def test_a_workspace_s_stream_ends_with_it(site: Site, server: Listening) -> None:
    token = await running(site)
    async with client_of(server, token) as alice:
        async with following(alice, OF_WEB) as events:
            assert (await alice.delete(f"{WEB}?force=true")).status_code == 204
            await site.world.clock.advance(0.1)
            told = await rest(events)
        assert numbers(told) == written(site)
        assert told[-1].json()["status"] == "deleted"
        async with following(alice, OF_WEB, after=int(told[-2].id)) as events:
            assert numbers(await rest(events)) == [int(told[-1].id)]
        for headers in ({}, {"Last-Event-ID": told[-1].id}):
            assert (await alice.get(OF_WEB, headers=headers)).status_code == 404


async def test_a_server_that_stops_ends_streams_in_order(site: Site) -> None:
    token = await running(site)
    last = written(site)[-1]
    async with served.listening(site.app, grace=30) as server, client_of(server, token) as alice:
        async with following(alice, ALL, after=last - 2) as events, following(alice, OF_WEB) as others:
            told = await taken(events, 1)
            server.stop.set()
            told += await rest(events)
            await rest(others)
        await asyncio.wait_for(server.ended, 5)
    happen(site, 3)
    async with (
        served.listening(site.app) as server,
        client_of(server, token) as alice,
        following(alice, ALL, after=int(told[-1].id)) as events,
    ):
        again = await taken(events, 3 + 2 - len(told))
    assert numbers(told + again) == [last - 1, last, last + 1, last + 2, last + 3]


async def test_a_token_that_is_revoked_ends_its_stream(site: Site, server: Listening) -> None:
    caller = site.world.register("alice")
    issued, token = site.world.nexus.issue_token(caller, "alice", label="events")
    async with client_of(server, token) as alice:
        async with following(alice, ALL) as events:
            site.world.nexus.revoke_token(caller, "alice", issued.id)
            await site.world.clock.advance(15)
            assert await rest(events) == []
        assert (await alice.get(ALL)).status_code == 401


async def test_a_token_that_expires_ends_its_stream(site: Site, server: Listening) -> None:
    caller = site.world.register("alice")
    expiry = site.world.clock.now() + timedelta(seconds=20)
    _, token = site.world.nexus.issue_token(caller, "alice", label="short", expires_at=expiry)
    async with client_of(server, token) as alice, following(alice, ALL) as events:
        await site.world.clock.advance(31)
        assert await rest(events) == []


@pytest.mark.parametrize("path", [ALL, OF_WEB])
async def test_the_head_without_the_stream_and_no_other_methods(site: Site, server: Listening, path: str) -> None:
    await running(site)
    async with client_of(server) as client:
        answer = await client.head(path)
        assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, STREAM, b"")
        assert (await client.head(path, headers={"Last-Event-ID": "x"})).status_code == 400
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def reluctant(server: Listening, path: str, token: str = ADMIN_TOKEN) -> socket.socket:
    """A client that has asked and reads nothing of the answer, with little room for it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((server.host, server.port))
    sock.sendall(f"GET /api/v1{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
    return sock


def blocks(raw: bytes) -> list[dict[str, str]]:
    """The events in an answer as it came over the wire."""
    head, _, chunked = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    body = b""
    while chunked:
        length, _, chunked = chunked.partition(b"\r\n")
        body += chunked[: int(length, 16)]
        chunked = chunked[int(length, 16) + 2 :]
    found: list[dict[str, str]] = []
    for block in body.decode().split("\n\n"):
        fields = [line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")]
        found.append({name: value for name, value in fields if name != "retry"})
    return [one for one in found if one]


async def test_who_takes_nothing_is_dropped_with_a_word_and_can_go_on(
    site: Site, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 0.5)
    await running(site)
    happen(site, 8000, size=200)
    sock = reluctant(server, f"{ALL}?last_event_id=0")
    sock.setblocking(False)
    try:
        await until(lambda: "stuck" in tasks())
        await until(lambda: "stuck" not in tasks())
        # It took nothing, and yet all that was sent is there, in order, with a last word.
        raw = await asyncio.wait_for(_read_all(sock), 10)
    finally:
        sock.close()
    *told, last = blocks(raw)
    ids = [int(one["id"]) for one in told]
    assert ids == list(range(1, ids[-1] + 1))
    assert ids[-1] < 8000
    assert (last["event"], last["id"]) == ("dropped", str(ids[-1]))
    marker = json.loads(last["data"])
    assert (marker["kind"], marker["last_event_id"]) == ("dropped", ids[-1])
    assert "0.5 seconds" in marker["reason"]
    async with client_of(server) as client, following(client, ALL, after=ids[-1]) as events:
        every = written(site)
        assert numbers(await taken(events, every[-1] - ids[-1])) == every[ids[-1] :]


async def _read_all(sock: socket.socket) -> bytes:
    loop, raw = asyncio.get_running_loop(), b""
    while piece := await loop.sock_recv(sock, 1 << 20):
        raw += piece
    return raw


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}


async def test_who_takes_nothing_after_that_either_is_cut_off(
    site: Site, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 0.2)
    await running(site)
    happen(site, 8000, size=200)
    lost: list[connections.Connection] = []
    losing = connections.Connection.connection_lost

    def connection_lost(self: connections.Connection, exc: Exception | None) -> None:
        lost.append(self)
        losing(self, exc)

    monkeypatch.setattr(connections.Connection, "connection_lost", connection_lost)
    sock = reluctant(server, f"{ALL}?last_event_id=0")
    sock.setblocking(False)
    try:
        await until(lambda: bool(lost))  # though nothing was read
        raw = await asyncio.wait_for(_read_all(sock), 10)
        assert b"event: dropped" not in raw
    finally:
        sock.close()


async def test_who_takes_little_by_little_is_not_dropped(
    site: Site, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 0.5)
    await running(site)
    happen(site, 1500, size=200)
    last = written(site)[-1]
    sock = reluctant(server, f"{ALL}?last_event_id=0")
    sock.setblocking(False)
    raw = b""
    try:
        async with asyncio.timeout(30):
            while f"id: {last}\n".encode() not in raw:
                raw += await asyncio.get_running_loop().sock_recv(sock, 16384)
                await asyncio.sleep(0.02)
    finally:
        sock.close()
    assert b"event: dropped" not in raw


async def test_one_that_takes_nothing_holds_up_nobody(
    site: Site, server: Listening, monkeypatch: pytest.MonkeyPatch, ticking: None
) -> None:
    await running(site)
    happen(site, 8000, size=200)
    socks = [reluctant(server, f"{ALL}?last_event_id=0") for _ in range(10)]
    try:
        last = written(site)[-1]
        async with client_of(server) as client, following(client, ALL, after=last) as events:
            happen(site)
            assert numbers(await taken(events, 1)) == [last + 1]
            assert (await client.get(WEB)).status_code == 200
        monkeypatch.setattr(connections, "STALLED", 0.2)
        server.stop.set()
        await asyncio.wait_for(server.ended, 10)
    finally:
        for sock in socks:
            sock.close()
