"""The server on a real socket: framing, limits, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import served
from nexus_http import connections, intake
from nexus_sqlite.store import SqliteStore
from served import ADMIN_TOKEN, Listening, Site, bearer

WEB = "/workspaces/ws-000000000001"
AUTH = f"Authorization: Bearer {ADMIN_TOKEN}\r\n"


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Listening]:
    """The application behind a socket."""
    async with served.listening(site.app) as one:
        yield one


async def said(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the connection."""
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 30)
    return b""


def parsed(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    return int(status.split()[1]), headers, body


async def answered(server: Listening, raw: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """The answer to these bytes on a connection of their own."""
    reader, writer = await server.connect()
    writer.write(raw)
    status, headers, body = parsed(await said(reader))
    writer.close()
    return status, headers, json.loads(body)


async def test_a_client_is_answered_and_told_little_of_the_server(server: Listening) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/api/v1/health")
    assert answer.status_code == 200
    assert set(answer.headers) == {"date", "content-type", "content-length", "x-request-id"}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET /api/v1/health HTTP/9.9\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\na: b\x00c\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /api/v1/workspaces HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/workspaces HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /api/v1/workspaces HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:40]),
)
async def test_what_is_not_http_is_cut_off(server: Listening, raw: bytes) -> None:
    status, headers, body = await answered(server, raw)
    assert (status, body["error"]) == (400, "invalid_request")
    assert headers["connection"] == "close"
    assert headers["x-request-id"] == body["request_id"]


async def test_endless_headers_are_cut_off(server: Listening) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /api/v1/health HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(10_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
            await writer.drain()
            await asyncio.sleep(0)
    raw = await said(reader)
    # The rest of what the client sent may have made the kernel drop the answer.
    if raw:
        assert parsed(raw)[0] == 400
    writer.close()


async def test_one_endless_header_is_cut_off(server: Listening) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /api/v1/health HTTP/1.1\r\nx: ")
    for _ in range(3):
        writer.write(b"y" * 30_000)
        await writer.drain()
        await asyncio.sleep(0.05)
    status, _, body = parsed(await said(reader))
    assert status == 400
    assert b"headers are longer" in body
    writer.close()


async def test_long_headers_within_bounds_are_taken_again_and_again(server: Listening) -> None:
    async with httpx.AsyncClient(headers={"x": "y" * 40_000}) as client:
        for _ in range(5):
            assert (await client.get(f"{server.url}/api/v1/health")).status_code == 200


async def test_headers_that_do_not_come_are_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_PATIENCE", 0.1)
    async with served.listening(site.app) as server:
        for begun in (b"", b"GET /api/v1/health HTTP/1.1\r\nx: y\r\n"):
            reader, writer = await server.connect()
            writer.write(begun)
            assert await said(reader) == b""
            writer.close()
        # Between two requests there is no such hurry, within the second there is.
        reader, writer = await server.connect()
        writer.write(b"GET /api/v1/health HTTP/1.1\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(b"GET /api/v1/nope HTTP/1.1\r\n")
        assert b"404" not in await said(reader)
        writer.close()


async def test_a_large_body_is_refused_and_the_connection_goes_on(server: Listening) -> None:
    async with httpx.AsyncClient(headers=bearer(ADMIN_TOKEN)) as client:
        for _ in range(2):
            answer = await client.post(f"{server.url}/api/v1/workspaces", content=b"x" * 5_000_000)
            assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_a_large_body_in_chunks_is_refused_while_it_comes(server: Listening) -> None:
    reader, writer = await server.connect()
    head = f"POST /api/v1/workspaces HTTP/1.1\r\n{AUTH}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    for _ in range(20):
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    status, headers, body = parsed(await said(reader))
    assert (status, json.loads(body)["error"]) == (413, "payload_too_large")
    assert headers["x-request-id"] == json.loads(body)["request_id"]
    writer.close()


@pytest.mark.parametrize("path", ["/api/v1/workspaces", "/api/v1/nope", "/api/v1/health"])
async def test_who_is_refused_early_on_a_closing_connection_learns_why(server: Listening, path: str) -> None:
    body = b"x" * 3_000_000
    reader, writer = await server.connect()
    writer.write(f"PUT {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    await asyncio.sleep(0.05)
    writer.write(body)
    await writer.drain()
    assert parsed(await said(reader))[0] in (404, 405)
    writer.close()


async def test_nobody_is_read_for_ever(server: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PATIENCE", 0.1)
    head = b"PUT /api/v1/nope HTTP/1.1\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
    status, _, _ = await answered(server, head)
    assert status == 404


async def test_a_body_is_asked_for_only_where_it_is_wanted(server: Listening) -> None:
    reader, writer = await server.connect()
    head = f"POST /api/v1/workspaces HTTP/1.1\r\n{AUTH}Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
    writer.close()
    reader, writer = await server.connect()
    writer.write(head.replace("9999999", "2").encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 415")
    writer.close()


async def test_requests_follow_each_other_on_a_connection(server: Listening) -> None:
    reader, writer = await server.connect()
    one = b"GET /api/v1/health HTTP/1.1\r\nX-Request-ID: %d\r\n\r\n"
    writer.write(one % 1 + one % 2 + (one % 3).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    raw = await said(reader)
    assert [raw.count(b"x-request-id: %d\r\n" % number) for number in (1, 2, 3)] == [1, 1, 1]
    writer.close()


async def test_head_has_the_headers_of_get_and_no_body(server: Listening) -> None:
    reader, writer = await server.connect()
    for path in ("/api/v1/health", "/api/v1/nope", "/schema"):
        writer.write(f"HEAD {path} HTTP/1.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: " in head
    writer.write(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
    status, _, body = parsed(await said(reader))
    assert (status, json.loads(body)["status"]) == (200, "ok")
    writer.close()


async def test_an_upgrade_that_is_not_had_is_passed_over(server: Listening) -> None:
    status, _, body = await answered(
        server,
        b"GET /api/v1/health HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    assert (status, body["status"]) == (200, "ok")


async def test_the_end_waits_for_a_request_under_way(site: Site) -> None:
    alice = await site.user("alice")
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    stuck = site.world.faults.hang("stop")
    async with served.listening(site.app) as server, httpx.AsyncClient(headers=bearer(ADMIN_TOKEN)) as client:
        stopping = asyncio.create_task(client.post(f"{server.url}/api/v1{WEB}/stop"))
        await stuck.entered.wait()
        server.stop.set()
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await server.connect()
        assert not server.ended.done()
        stuck.release()
        answer = await stopping
        assert (answer.status_code, answer.json()["status"]) == (200, "stopped")
        assert answer.headers["connection"] == "close"
        await asyncio.wait_for(server.ended, 10)


async def test_a_request_that_takes_too_long_is_told(site: Site) -> None:
    alice = await site.user("alice")
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    stuck = site.world.faults.hang("stop")
    async with served.listening(site.app, grace=1) as server, httpx.AsyncClient(headers=bearer(ADMIN_TOKEN)) as client:
        stopping = asyncio.create_task(client.post(f"{server.url}/api/v1{WEB}/stop"))
        await stuck.entered.wait()
        server.stop.set()
        answer = await stopping
        assert (answer.status_code, answer.json()["error"]) == (503, "provider_unavailable")
        assert "The server is stopping" in answer.json()["message"]
        await asyncio.wait_for(server.ended, 10)
    stuck.release()
    await site.world.idle()
    assert site.world.show("ws-000000000001").workspace.status == "stopped"  # the engine went on with it


async def test_the_end_does_not_wait_for_clients_that_say_nothing(site: Site) -> None:
    async with served.listening(site.app, grace=30) as server, httpx.AsyncClient() as idle:
        await idle.get(f"{server.url}/api/v1/health")
        silent = await server.connect()
        slow = await server.connect()
        slow[1].write(b"GET /api/v1/health HTTP/1.1\r\nx: ")
        await asyncio.sleep(0.1)
        began = time.monotonic()
        server.stop.set()
        await asyncio.wait_for(server.ended, 10)
        assert time.monotonic() - began < 5
        for reader, writer in (silent, slow):
            assert await said(reader) == b""
            writer.close()


async def test_a_server_can_be_stopped_before_anybody_came(site: Site) -> None:
    async with served.listening(site.app) as server:
        server.stop.set()
        await asyncio.wait_for(server.ended, 10)


async def test_the_same_on_a_file(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "nexus.db", key=bytes(32))
    async with (
        served.site(store=store) as site,
        served.listening(site.app) as server,
        httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=bearer(ADMIN_TOKEN)) as client,
    ):
        site.world.register("alice")
        creation = {"workspace_name": "web", "github_username": "alice"}
        created = await client.post("/workspaces", json=creation)
        assert created.status_code == 202
        await site.world.idle()
        shown = await asyncio.gather(*(client.get(WEB) for _ in range(10)))
        assert {answer.json()["status"] for answer in shown} == {"running"}
        assert (await client.delete(f"{WEB}?force=true")).status_code == 204
