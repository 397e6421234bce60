"""Request ids, and what the log has of a request: enough to find it again, and no secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import httpx
import pytest

from nexus_cli import logs
from nexus_core.errors import DatabaseBusy
from nexus_fakes import FakeKeys
from served import ADMIN_TOKEN, Site

WEB = "/workspaces/ws-000000000001"
OURS = re.compile(r"req-[0-9a-f]{12}")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the server writes to its log, as it writes it."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    root.handlers, root.level = before


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def requests(log: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in lines(log) if line["logger"] == "nexus_http.requests"]


@pytest.mark.parametrize("sent", ["a", "A-b_c.9", "x" * 64])
async def test_a_well_formed_request_id_is_kept(admin: httpx.AsyncClient, sent: str) -> None:
    answer = await admin.get("/status", headers={"X-Request-ID": sent})
    assert answer.headers.get_list("X-Request-ID") == [sent]


@pytest.mark.parametrize("sent", [b"", b"x" * 65, b"with space", b"semi;colon", "é".encode(), b"new\nline"])
async def test_any_other_is_replaced(admin: httpx.AsyncClient, sent: bytes) -> None:
    answer = await admin.get("/status", headers={b"X-Request-ID": sent})
    assert OURS.fullmatch(answer.headers["X-Request-ID"])


async def test_every_answer_has_one_and_no_two_share_it(site: Site, admin: httpx.AsyncClient) -> None:
    answers = [
        await admin.get("/health"),
        await admin.get("/nope"),
        await admin.put("/workspaces"),
        await admin.options("/workspaces"),
        await admin.head("/status"),
        await admin.post("/workspaces", content=b"x" * 2_000_000),
        await admin.post("/workspaces", content=b"x"),
        await admin.get("http://nexus.example/schema"),
        await admin.get("http://nexus.example/schema/openapi.json"),
        await (await site.client()).get("/status"),
        await admin.get("/" + "x" * 5000),
    ]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(map(OURS.fullmatch, ids))
    assert len(set(ids)) == len(ids)


async def test_a_request_leaves_one_line(log: io.StringIO, site: Site, alice: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await alice.get(f"{WEB}?x=secret-in-the-query")
    await alice.get("/workspaces?limit=5")
    await (await site.admin()).delete(WEB)
    await (await site.client()).get("/status")
    await (await site.client()).head("/health")
    seen = requests(log)
    assert all(OURS.fullmatch(line.pop("request_id")) for line in seen)
    assert all(line.pop("duration_ms") > 0 for line in seen)
    assert {line.pop("event") for line in seen} == {"request"}
    for line in seen:
        del line["logger"], line["level"], line["timestamp"]
    one = "/api/v1/workspaces/{workspace_id}"
    here = f"/api/v1{WEB}"
    web = {"workspace_id": "ws-000000000001"}
    assert seen == [
        _line("POST", "/api/v1/workspaces", "/api/v1/workspaces", 202, "alice", **web),
        _line("GET", here, one, 400, "alice", **web, error="invalid_request"),
        _line("GET", "/api/v1/workspaces", "/api/v1/workspaces", 200, "alice"),
        _line("DELETE", here, one, 204, "administrator", **web),
        _line("GET", "/api/v1/status", "/api/v1/status", 401, None, error="unauthorized"),
        _line("HEAD", "/api/v1/health", "/api/v1/health", 200, None),
    ]
    assert "secret-in-the-query" not in log.getvalue()


def _line(method: str, path: str, route: str, status: int, caller: str | None, **more: str) -> dict[str, Any]:
    return {"method": method, "path": path, "route": route, "status": status, "caller": caller, **more}


async def test_no_line_can_be_forged(log: io.StringIO, admin: httpx.AsyncClient) -> None:
    await admin.get("/users/x%0a%7b%22event%22:%22forged%22%7d%1b[2J")
    assert len(log.getvalue().splitlines()) == 1
    assert "\x1b" not in log.getvalue()


async def test_no_secret_reaches_the_log_or_an_answer(log: io.StringIO, site: Site, admin: httpx.AsyncClient) -> None:
    canary = FakeKeys.sample("canary").text
    await admin.post("/users/register-github", json={"github_username": "alice", "github_id": 1, "ssh_pubkey": canary})
    issued = (await admin.post("/users/alice/tokens", json={"label": "canary-label"})).json()["token"]
    alice = await site.client({"Authorization": f"Bearer {issued}"})
    await alice.post("/workspaces", json={"workspace_name": "web"}, headers={"Idempotency-Key": "canary-idempotency"})
    await site.world.idle()
    await alice.put("/users/alice/ssh-key", json={"ssh_pubkey": FakeKeys.sample("canary 2").text})
    await alice.get(f"/users/{issued}?token={issued}")
    await alice.get(f"/workspaces/{issued}")
    await alice.get(f"/{issued}")
    await alice.post("/workspaces", json={"workspace_name": issued, issued: issued})
    await alice.post(f"{WEB}/stop", headers={"X-Request-ID": "fine"}, content=issued.encode())
    await admin.get("/status", headers={"Authorization": f"Basic {issued}"})
    written = log.getvalue()
    key = canary.split()[1]
    for secret in (ADMIN_TOKEN, issued, key, FakeKeys.sample("canary 2").text.split()[1], "canary"):
        assert secret not in written


async def test_a_fault_is_logged_with_its_trace_under_the_id_that_is_answered(
    log: io.StringIO, site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("boom")

    monkeypatch.setattr(site.world.nexus, "show_workspace", fail)
    answer = await alice.get(WEB)
    [fault, refused, request] = lines(log)
    assert "RuntimeError: boom" in fault["exception"]
    assert (fault["level"], refused["level"], request["level"]) == ("error", "error", "info")
    assert {fault["request_id"], refused["request_id"], request["request_id"]} == {answer.json()["request_id"]}
    assert (request["status"], request["error"]) == (500, "internal_error")


async def test_what_may_pass_is_a_warning(
    log: io.StringIO, site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> NoReturn:
        raise DatabaseBusy("The database is locked")

    monkeypatch.setattr(site.world.nexus, "show_workspace", busy)
    await alice.get(WEB)
    [warning, _] = lines(log)
    assert (warning["level"], warning["code"]) == ("warning", "database_busy")
    assert warning["event"].startswith("The database is locked.")


async def test_a_fault_in_answering_errors_is_answered_too(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("boom")

    monkeypatch.setattr("nexus_http.problems.refusal", fail)
    answer = await alice.get("/nope")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


async def test_a_fault_after_the_answer_began_is_for_the_server_below(site: Site) -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            raise OSError("the connection broke")

    with pytest.raises(Exception, match="response started"):
        await site.app(_scope("/api/v1/health"), _nothing, send)  # type: ignore[arg-type]  # made by hand
    assert sent == ["http.response.start", "http.response.body"]


async def test_an_answer_under_way_that_is_given_up_is_left_as_it_is(site: Site) -> None:
    sent: list[str] = []
    begun = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(site.app(_scope("/api/v1/health"), _nothing, send))  # type: ignore[arg-type]  # made by hand
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sent == ["http.response.start"]


async def test_a_request_that_is_given_up_says_so(log: io.StringIO, site: Site, alice: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    stuck = site.world.faults.hang("stop")
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope = _scope(f"/api/v1{WEB}/stop", method="POST", token=ADMIN_TOKEN)
    task = asyncio.create_task(site.app(scope, _nothing, send))  # type: ignore[arg-type]  # made by hand
    await stuck.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert messages[0]["status"] == 503
    assert "The server is stopping" in json.loads(messages[1]["body"])["message"]
    assert requests(log)[-1]["status"] == 503


def _scope(path: str, method: str = "GET", token: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_websockets_are_turned_away(site: Site) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {**_scope("/api/v1/health"), "type": "websocket", "subprotocols": []}
    await site.app(scope, _nothing, send)  # type: ignore[arg-type]  # made by hand
    assert [message["type"] for message in sent] == ["websocket.close"]
