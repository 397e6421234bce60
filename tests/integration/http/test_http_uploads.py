"""Repositories that are uploaded: bounded in size and patience, whole or not at all."""

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
from nexus_core.errors import DatabaseBusy
from nexus_fakes.workbench import FakeRepository
from nexus_host.bundles import FolderBundles
from nexus_http import intake, uploads
from served import ADMIN_TOKEN, Listening, Site, bearer, until

ID = "ws-000000000001"
UPLOAD = f"/workspaces/{ID}/repository-bundle"
BYTES = {"Content-Type": "application/octet-stream"}
MIB = 1024 * 1024


@pytest.fixture
async def waiting(site: Site) -> httpx.AsyncClient:
    """Alice, whose workspace waits for its repository."""
    alice = await site.user("alice")
    created = await alice.post("/workspaces", json={"workspace_name": "web", "repo": {"bundle": True}})
    assert created.status_code == 202, created.text
    await site.world.clock.settle()
    return alice


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Listening]:
    """The application behind a socket."""
    async with served.listening(site.app) as one:
        yield one


@pytest.fixture
async def client(server: Listening) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, over the socket."""
    headers = {**bearer(ADMIN_TOKEN), **BYTES}
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=headers, timeout=20) as one:
        yield one


def check_error(answer: httpx.Response, status: int, error: str) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), body
    details: dict[str, Any] = body["details"]
    return details


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def names_in(folder: Path) -> list[str]:
    return [one.name for one in folder.glob("*")]


def head(*lines: str) -> bytes:
    given = (f"Authorization: Bearer {ADMIN_TOKEN}", "Content-Type: application/octet-stream", *lines)
    return f"PUT /api/v1{UPLOAD} HTTP/1.1\r\n{''.join(f'{one}{chr(13)}{chr(10)}' for one in given)}\r\n".encode()


async def test_a_bundle_is_kept_and_the_creation_goes_on(
    site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    site.world.insides.repositories[f"/fake/{ID}.bundle"] = FakeRepository()
    assert (await client.get(f"/workspaces/{ID}")).json()["status"] == "creating"
    content = b"# v2 git bundle\n" + bytes(range(256)) * 2000
    answer = await client.put(UPLOAD, content=content)
    assert (answer.status_code, answer.json()) == (
        202,
        {"workspace_id": ID, "status": "creating", "polling_url": f"/api/v1/workspaces/{ID}/status"},
    )
    assert site.world.bundles.kept == {ID: content}
    await site.world.clock.advance(1)
    await site.world.idle()
    shown = (await client.get(f"/workspaces/{ID}")).json()
    assert (shown["status"], shown["repository"]["commit"], shown["repository"]["url"]) == ("running", "1" * 40, None)
    again = await client.put(UPLOAD, content=content)
    assert set(check_error(again, 409, "invalid_status_transition")) == {"from", "to", "allowed"}
    assert site.world.bundles.kept == {}


async def test_another_one_takes_its_place(site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    for content in (b"first", b"second"):
        assert (await client.put(UPLOAD, content=in_pieces(content))).status_code == 202
        assert site.world.bundles.kept == {ID: content}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, 202),
        ({"Content-Type": "Application/Octet-Stream; x=y"}, 202),
        ({"Content-Type": "application/octet-stream", "Content-Encoding": "identity"}, 202),
        ({}, 415),
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "application/x-git-bundle"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}, 415),
    ],
)
async def test_a_body_is_said_to_be_bytes(
    site: Site, waiting: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await waiting.put(UPLOAD, content=b"bundle", headers=headers)
    assert answer.status_code == status
    if status == 415:
        check_error(answer, 415, "unsupported_media_type")
        assert site.world.bundles.kept == {}


async def test_an_empty_body_is_refused(site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    for content in (b"", in_pieces()):
        answer = await client.put(UPLOAD, content=content)
        assert check_error(answer, 400, "invalid_request") == {"$": "a git bundle is required"}
    assert site.world.bundles.kept == {}


async def test_only_a_workspace_that_wants_one_takes_it(site: Site, client: httpx.AsyncClient) -> None:
    alice = await site.user("alice")
    for repo in (None, {"url": "https://github.com/o/n.git"}):
        created = await alice.post("/workspaces", json={"workspace_name": f"w{repo is None}".lower(), "repo": repo})
        path = f"/workspaces/{created.json()['workspace_id']}/repository-bundle"
        check_error(await client.put(path, content=b"bundle"), 400, "invalid_request")
    assert site.world.bundles.kept == {}


async def test_nobody_else_uploads(site: Site, waiting: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    check_error(await bob.put(UPLOAD, content=b"bundle", headers=BYTES), 404, "workspace_not_found")
    reader = await site.user("erin", "read")
    check_error(await reader.put(UPLOAD, content=b"bundle", headers=BYTES), 403, "forbidden")
    assert site.world.bundles.kept == {}


async def test_what_is_announced_as_too_long_is_refused_at_once(
    site: Site, waiting: httpx.AsyncClient, server: Listening
) -> None:
    for expects in ((), ("Expect: 100-continue",)):
        reader, writer = await server.connect()
        began = time.monotonic()
        writer.write(head(f"Content-Length: {uploads.MAX_BUNDLE + 1}", *expects))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
        headers = await reader.readuntil(b"\r\n\r\n")
        length = int(headers.split(b"content-length: ")[1].split(b"\r\n")[0])
        problem = json.loads(await reader.readexactly(length))
        assert (problem["error"], problem["details"]) == ("payload_too_large", {"limit": 512 * MIB})
        assert time.monotonic() - began < 1
        writer.close()
    assert uploads.MAX_BUNDLE == 512 * MIB
    assert "receive" not in site.world.faults.calls


async def test_up_to_the_limit_everything_is_taken_and_no_byte_beyond(
    site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BUNDLE", 300_000)
    whole = b"x" * 300_000
    assert (await client.put(UPLOAD, content=whole)).status_code == 202
    assert (await client.put(UPLOAD, content=in_pieces(whole[:1], whole[1:]))).status_code == 202
    for content in (whole + b"x", in_pieces(whole, b"x"), in_pieces(*[b"x" * 1000] * 2000)):
        details = check_error(await client.put(UPLOAD, content=content), 413, "payload_too_large")
        assert details == {"limit": 300_000}
    assert site.world.bundles.kept == {ID: whole}


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_client_that_breaks_off_leaves_nothing(
    site: Site,
    waiting: httpx.AsyncClient,
    server: Listening,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    framing: str,
) -> None:
    folder = FolderBundles(tmp_path / "bundles")
    monkeypatch.setattr(site.world.bundles, "receive", folder.receive)
    _, writer = await server.connect()
    writer.write(head(framing) + b"400\r\n" + b"x" * 1024 + b"\r\n")
    await until(lambda: any(name.endswith(".partial") for name in names_in(tmp_path / "bundles")))
    writer.transport.abort()
    await until(lambda: not names_in(tmp_path / "bundles"))
    assert folder.path_of(ID) is None


async def test_a_client_that_falls_silent_is_not_waited_for(
    site: Site, waiting: httpx.AsyncClient, server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.3)
    monkeypatch.setattr(intake, "PATIENCE", 0.1)
    reader, writer = await server.connect()
    writer.write(head("Content-Length: 10", "Connection: close"))
    # As long as something comes, it may take as long as it takes.
    for _ in range(5):
        writer.write(b"x")
        await asyncio.sleep(0.15)
    raw = await asyncio.wait_for(reader.read(), 5)
    assert raw.startswith(b"HTTP/1.1 400")
    assert b"Nothing of the bundle came" in raw
    assert site.world.bundles.kept == {}
    writer.close()


async def test_a_disk_that_is_full_is_said_to(
    site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(workspace_id: str, chunks: AsyncIterator[bytes]) -> int:
        raise DatabaseBusy("The repository could not be kept", why="The host says: No space left on device.")

    monkeypatch.setattr(site.world.bundles, "receive", full)
    answer = await client.put(UPLOAD, content=b"x" * 20 * MIB)
    check_error(answer, 503, "database_busy")
    assert "No space left" in answer.json()["message"]


async def test_memory_does_not_grow_with_the_bundle(
    site: Site, waiting: httpx.AsyncClient, client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FolderBundles(tmp_path / "bundles")
    monkeypatch.setattr(site.world.bundles, "receive", folder.receive)
    piece = b"x" * MIB
    seen: list[int] = []

    async def long() -> AsyncIterator[bytes]:
        for _ in range(64):
            seen.append(_resident())
            yield piece

    answer = await client.put(UPLOAD, content=long())
    assert answer.status_code == 202, answer.text
    assert names_in(tmp_path / "bundles") == [f"{ID}.bundle"]
    assert max(seen) - seen[0] < 20 * MIB


def _resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_an_upload_does_not_hold_the_server_s_end_up_for_longer_than_its_grace(
    site: Site, waiting: httpx.AsyncClient
) -> None:
    async with served.listening(site.app, grace=1) as server:
        reader, writer = await server.connect()
        writer.write(head("Content-Length: 1000000") + b"x" * 1000)
        await asyncio.sleep(0.1)
        server.stop.set()
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 503")
        await asyncio.wait_for(server.ended, 5)
        writer.close()
    assert site.world.bundles.kept == {}
