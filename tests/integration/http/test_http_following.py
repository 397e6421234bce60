"""Logs over HTTP: as they are, and as they go on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

import served
from nexus_core.errors import InstanceMissing, ProviderFailed, ProviderUnavailable
from nexus_http import connections, following
from served import ADMIN_TOKEN, Listening, Site, bearer, until

ID = "ws-000000000001"
WEB = f"/workspaces/{ID}"
SERVICE = f"{WEB}/services/web/logs"
CLONE = f"{WEB}/logs"
TEXT = "text/plain; charset=utf-8"


@dataclass
class Scribe:
    """What is written while somebody follows; None ends it, an error breaks it."""

    coming: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    begun: int = 0
    closed: int = 0
    asked: list[tuple[str, str | None, int]] = field(default_factory=list)

    async def follow(self, instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        self.begun += 1
        self.asked.append((instance, service, lines))
        try:
            while (piece := await self.coming.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            await asyncio.sleep(0.01)  # letting go takes a moment too, and is not to be cut short
            self.closed += 1


@pytest.fixture
async def scribe(site: Site, monkeypatch: pytest.MonkeyPatch) -> Scribe:
    """The hand that writes, in a running workspace of alice's."""
    alice = await site.user("alice")
    services = [{"name": "web", "command": "npm run dev", "port": 3000}]
    body = {"workspace_name": "web", "setup": ["one", "two", "three"], "services": services}
    await alice.post("/workspaces", json=body)
    await site.world.idle()
    assert (await alice.get(WEB)).json()["status"] == "running"
    scribe = Scribe()
    monkeypatch.setattr(site.world.workbench, "follow", scribe.follow)
    return scribe


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Listening]:
    """The application behind a socket."""
    async with served.listening(site.app, grace=30) as one:
        yield one


@pytest.fixture
async def client(server: Listening) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, over the socket."""
    headers = bearer(ADMIN_TOKEN)
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=headers, timeout=10) as one:
        yield one


@contextlib.asynccontextmanager
async def listened(client: httpx.AsyncClient, path: str = SERVICE) -> AsyncGenerator[AsyncIterator[bytes]]:
    """An answer that goes on, after its head was looked at."""
    async with client.stream("GET", path, params={"follow": "true", "lines": 5}) as answer:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, TEXT)
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "X-Request-ID" in answer.headers
        yield answer.aiter_raw()


async def until_closed(scribe: Scribe) -> None:
    await until(lambda: scribe.closed == scribe.begun)


def tasks_of_answers() -> list[str]:
    names = {"first-piece", "next-piece", "server-stops", "client-hangs-up"}
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() in names]


async def test_the_last_lines_are_text(site: Site, scribe: Scribe, client: httpx.AsyncClient) -> None:
    answer = await client.get(CLONE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, TEXT)
    assert answer.text == "==> one\n==> two\n==> three\n"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert (await client.get(f"{CLONE}?lines=2&follow=false")).text == "==> two\n==> three\n"
    assert "hello" in (await client.get(SERVICE)).text
    site.world.workbench.inside("nexus-000000000001").log = "Grüße ✓ \udcff\n"
    assert (await client.get(CLONE)).text == "Grüße ✓ ?\n"


@pytest.mark.parametrize("path", [SERVICE, CLONE])
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("lines=1", 200),
        ("lines=10000", 200),
        ("lines=10001", 400),
        ("lines=-1", 400),
        ("lines=x", 400),
        ("lines=", 400),
        ("lines=5&lines=6", 400),
        ("follow=yes", 400),
        ("follow=1", 400),
        ("tail=5", 400),
    ],
)
async def test_how_much_is_shown_is_bounded(
    scribe: Scribe, client: httpx.AsyncClient, path: str, query: str, status: int
) -> None:
    answer = await client.get(f"{path}?{query}")
    assert answer.status_code == status
    if status == 400:
        assert list(answer.json()["details"]) == [f"$.{query.partition('=')[0]}"]


async def test_pieces_come_as_they_are_written(scribe: Scribe, client: httpx.AsyncClient) -> None:
    for path, service in ((SERVICE, "web"), (CLONE, None)):
        scribe.coming.put_nowait(b"first\n")
        async with listened(client, path) as pieces:
            assert await anext(pieces) == b"first\n"
            for piece in (b"half a li", b"ne\n", b"\xff\x00 whatever\n"):
                scribe.coming.put_nowait(piece)
                assert await asyncio.wait_for(anext(pieces), 2) == piece
            scribe.coming.put_nowait(None)
            assert await anext(pieces, None) is None
        assert scribe.asked.pop() == ("nexus-000000000001", service, 5)
    await until_closed(scribe)


async def test_the_answer_begins_before_anything_is_written(scribe: Scribe, client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    async with listened(client) as pieces:
        assert time.monotonic() - began < following.BRIEF + 2
        scribe.coming.put_nowait(b"late\n")
        assert await anext(pieces) == b"late\n"


@pytest.mark.parametrize("speaking", [False, True])
async def test_who_hangs_up_is_written_to_no_longer(scribe: Scribe, client: httpx.AsyncClient, speaking: bool) -> None:
    async with listened(client) as pieces:
        if speaking:
            scribe.coming.put_nowait(b"hello\n")
            await anext(pieces)
        assert scribe.closed == 0
    await until_closed(scribe)
    await asyncio.sleep(0.05)
    assert tasks_of_answers() == []


async def test_who_hangs_up_without_reading_is_noticed_too(scribe: Scribe, server: Listening) -> None:
    reader, writer = await server.connect()
    writer.write(f"GET /api/v1{SERVICE}?follow=true HTTP/1.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode())
    for _ in range(200):
        scribe.coming.put_nowait(b"x" * 100_000)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.2)
    assert scribe.coming.qsize() > 0  # no more is read than is taken
    writer.transport.abort()
    await until_closed(scribe)
    assert tasks_of_answers() == []


async def test_a_server_that_is_told_to_stop_ends_what_goes_on(
    scribe: Scribe, server: Listening, client: httpx.AsyncClient
) -> None:
    async with listened(client) as pieces, listened(client, CLONE) as others:
        began = time.monotonic()
        server.stop.set()
        # An end in order, not a connection that breaks.
        assert await anext(pieces, None) is None
        assert await anext(others, None) is None
        assert time.monotonic() - began < 1
    await asyncio.wait_for(server.ended, 5)
    assert time.monotonic() - began < 2
    assert (scribe.begun, scribe.closed) == (2, 2)
    assert tasks_of_answers() == []


@pytest.mark.usefixtures("scribe")
async def test_one_that_never_pauses_ends_too(
    site: Site, server: Listening, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def babble(instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        while True:
            yield b"on and on\n"

    monkeypatch.setattr(site.world.workbench, "follow", babble)
    async with listened(client) as pieces:
        await anext(pieces)
        server.stop.set()
        async with asyncio.timeout(5):
            async for _ in pieces:
                pass
    await asyncio.wait_for(server.ended, 5)


async def test_a_client_that_stops_reading_does_not_hold_the_end_up(
    scribe: Scribe, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALLED", 0.2)
    reader, writer = await server.connect()
    writer.write(f"GET /api/v1{SERVICE}?follow=true HTTP/1.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode())
    for _ in range(200):
        scribe.coming.put_nowait(b"x" * 100_000)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.2)
    server.stop.set()
    await asyncio.wait_for(server.ended, 5)
    await until_closed(scribe)
    writer.transport.abort()


async def test_an_application_can_be_served_again(scribe: Scribe, site: Site) -> None:
    for _ in range(2):
        async with (
            served.listening(site.app) as server,
            httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=bearer(ADMIN_TOKEN)) as client,
            listened(client) as pieces,
        ):
            scribe.coming.put_nowait(b"here\n")
            assert await anext(pieces) == b"here\n"
    await until_closed(scribe)


async def test_what_breaks_on_the_way_is_told_in_the_text(scribe: Scribe, client: httpx.AsyncClient) -> None:
    scribe.coming.put_nowait(b"so far\n")
    async with listened(client) as pieces:
        assert await anext(pieces) == b"so far\n"
        scribe.coming.put_nowait(ProviderUnavailable("LXD at /var/lib/lxd/unix.socket is away", why="nxs_abcdef."))
        said = b"".join([piece async for piece in pieces]).decode()
    assert said.startswith("\nLXD at [path] is away. nxs_[redacted].")
    assert "abcdef" not in said
    await until_closed(scribe)


async def test_a_fault_on_the_way_breaks_the_answer_off(scribe: Scribe, client: httpx.AsyncClient) -> None:
    async with listened(client) as pieces:
        scribe.coming.put_nowait(RuntimeError("boom"))
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    await until_closed(scribe)
    assert tasks_of_answers() == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProviderUnavailable("LXD is away"), 503, "provider_unavailable"),
        (RuntimeError("boom"), 500, "internal_error"),
    ],
)
async def test_errors_before_the_first_byte_are_errors(
    site: Site, scribe: Scribe, client: httpx.AsyncClient, *, error: Exception, status: int, code: str
) -> None:
    scribe.coming.put_nowait(error)
    answer = await client.get(f"{SERVICE}?follow=true")
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    site.world.faults.fail("tail", error)
    answer = await client.get(f"{SERVICE}?follow=true")
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"
    assert (scribe.begun, scribe.closed) == (1, 1)
    assert tasks_of_answers() == []


@pytest.mark.parametrize("query", ["", "?follow=true"])
@pytest.mark.parametrize("path", [SERVICE, CLONE])
async def test_head_has_no_body_and_does_not_go_on(
    scribe: Scribe, client: httpx.AsyncClient, path: str, query: str
) -> None:
    answer = await client.head(path + query)
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, TEXT, b"")
    assert scribe.begun == 0


async def test_of_a_stopped_workspace_there_is_what_the_setup_wrote(scribe: Scribe, client: httpx.AsyncClient) -> None:
    await client.post(f"{WEB}/stop")
    assert (await client.get(CLONE)).text.endswith("==> three\n")
    scribe.coming.put_nowait(ProviderFailed("nexus-000000000001 is stopped, so nothing can be done inside"))
    answer = await client.get(f"{CLONE}?follow=true&lines=1")
    assert (answer.status_code, answer.text) == (200, "==> three\n")
    refused = await client.get(f"{SERVICE}?follow=true")
    assert (refused.status_code, refused.json()["error"]) == (409, "workspace_not_running")


async def test_of_a_workspace_that_is_not_made_yet_there_is_nothing(site: Site) -> None:
    alice = await site.user("alice")
    site.world.faults.hang("create")
    services = [{"name": "web", "command": "npm run dev"}]
    await alice.post("/workspaces", json={"workspace_name": "web", "services": services})
    await site.world.clock.settle()
    for path in (CLONE, f"{CLONE}?follow=true", SERVICE):
        answer = await alice.get(path)
        assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, "", TEXT), path


async def test_of_a_container_that_came_to_nothing_there_is_no_service_to_hear(site: Site, scribe: Scribe) -> None:
    alice = await site.client(bearer(ADMIN_TOKEN))
    await alice.post(f"{WEB}/stop")
    site.world.faults.fail("start", ProviderFailed("LXD cannot start it"))
    await alice.post(f"{WEB}/start")
    await site.world.idle()
    assert (await alice.get(WEB)).json()["status"] == "error"
    site.world.faults.fail("tail", ProviderFailed("nexus-000000000001 is stopped"))
    answer = await alice.get(SERVICE)
    assert (answer.status_code, answer.json()["error"]) == (409, "workspace_not_running")
    assert answer.json()["details"] == {"status": "error"}


async def test_a_container_that_somebody_removed_does_not_run(site: Site, scribe: Scribe) -> None:
    alice = await site.client(bearer(ADMIN_TOKEN))
    site.world.faults.fail("tail", InstanceMissing("There is no instance"), times=None)
    for path in (CLONE, f"{SERVICE}?follow=true"):
        answer = await alice.get(path)
        assert (answer.status_code, answer.json()["error"]) == (409, "workspace_not_running")


async def test_a_workspace_that_goes_away_ends_what_is_followed(
    site: Site, scribe: Scribe, monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient
) -> None:
    async def follow(instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        yield b"here\n"
        await until(lambda: all(one.name != instance for one in site.world.provider.present()))

    monkeypatch.setattr(site.world.workbench, "follow", follow)
    async with listened(client) as pieces:
        assert await anext(pieces) == b"here\n"
        assert (await client.delete(f"{WEB}?force=true")).status_code == 204
        assert await asyncio.wait_for(anext(pieces, None), 2) is None
    assert tasks_of_answers() == []
