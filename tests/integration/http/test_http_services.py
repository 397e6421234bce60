"""Forwards and restarts of services over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import served
from nexus_core.domain.host_ports import PortRange
from nexus_core.errors import HostPortTaken, ProviderUnavailable
from nexus_core.policy import Policy
from served import Site

AT = "2026-01-17T10:30:00Z"
ID = "ws-000000000001"
WEB = f"/workspaces/{ID}"
FORWARD = f"{WEB}/services/web/port-forward"
RESTART = f"{WEB}/services/web/restart"
LOGS = f"{WEB}/services/web/logs"
JSON = {"Content-Type": "application/json"}
SERVICES = [
    {"name": "web", "command": "npm run dev", "port": 3000, "expose": False},
    {"name": "worker", "command": "npm run worker"},
]


@pytest.fixture
async def running(site: Site, alice: httpx.AsyncClient) -> httpx.AsyncClient:
    """Alice, who has a running workspace with services."""
    await create(site, alice)
    return alice


async def create(site: Site, client: httpx.AsyncClient, name: str = "web") -> str:
    answer = await client.post("/workspaces", json={"workspace_name": name, "services": SERVICES})
    assert answer.status_code == 202, answer.text
    await site.world.idle()
    workspace_id: str = answer.json()["workspace_id"]
    assert (await client.get(f"/workspaces/{workspace_id}")).json()["status"] == "running"
    return workspace_id


def forwarded(port: int) -> dict[str, Any]:
    return {
        "workspace_id": ID,
        "service": "web",
        "port": 3000,
        "mapped_port": port,
        "url": f"http://localhost:{port}",
        "created_at": AT,
    }


def check_error(answer: httpx.Response, status: int, error: str) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), body
    assert list(body) == ["error", "message", "details", "request_id"]
    details: dict[str, Any] = body["details"]
    return details


@pytest.mark.parametrize("body", [b"", b"{}", b'{"mapped_port": null}'])
async def test_a_forward_takes_the_lowest_port_and_is_answered_again(running: httpx.AsyncClient, body: bytes) -> None:
    for status in (201, 200, 200):
        answer = await running.post(FORWARD, content=body, headers=JSON if body else {})
        assert (answer.status_code, answer.json()) == (status, forwarded(23000))
        assert list(answer.json()) == ["workspace_id", "service", "port", "mapped_port", "url", "created_at"]
    shown = (await running.get(f"{WEB}/services")).json()["services"][0]
    assert (shown["mapped_port"], shown["url"]) == (23000, "http://localhost:23000")


async def test_a_forward_takes_the_port_that_is_asked_for_and_moves(running: httpx.AsyncClient) -> None:
    for port, status in ((23005, 201), (23005, 200), (23006, 201), (None, 200)):
        answer = await running.post(FORWARD, json={"mapped_port": port})
        assert (answer.status_code, answer.json()) == (status, forwarded(port or 23006))


@pytest.mark.parametrize("port", [0, 65536, -1, 22, 22999, 24000, 23000.5, "23000", True, []])
@pytest.mark.parametrize("before", [False, True], ids=["for the first time", "moved"])
async def test_a_port_out_of_range_is_refused(running: httpx.AsyncClient, port: Any, before: bool) -> None:
    if before:
        await running.post(FORWARD)
    answer = await running.post(FORWARD, json={"mapped_port": port})
    assert list(check_error(answer, 400, "invalid_request")) == ["$.mapped_port"]
    shown = (await running.get(WEB)).json()["services"]["web"]
    assert shown["mapped_port"] == (23000 if before else None)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"null", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
        (b'{"port": 23000}', 400, "invalid_request"),
        (b" " * 1024 * 1024 + b"{}", 413, "payload_too_large"),
    ],
    ids=lambda one: repr(one)[:20],
)
@pytest.mark.parametrize("path", [FORWARD, RESTART])
async def test_other_bodies_are_refused(
    site: Site, running: httpx.AsyncClient, path: str, body: bytes, *, status: int, error: str
) -> None:
    check_error(await running.post(path, content=body, headers=JSON), status, error)
    check_error(await running.post(path, content=b"{}", headers={"Content-Type": "x/y"}), 415, "unsupported_media_type")
    assert (await running.get(WEB)).json()["services"]["web"]["mapped_port"] is None
    assert site.world.faults.count("restart_service") == 0


async def test_a_port_that_is_taken_is_a_conflict(site: Site, running: httpx.AsyncClient) -> None:
    other = await create(site, running, "other")
    assert (await running.post(FORWARD, json={"mapped_port": 23005})).status_code == 201
    taken = await running.post(f"/workspaces/{other}/services/web/port-forward", json={"mapped_port": 23005})
    assert check_error(taken, 409, "port_in_use") == {"mapped_port": 23005}
    # So is one that another program of the host has.
    site.world.faults.fail("publish", HostPortTaken("Port 23007 is taken"))
    taken = await running.post(FORWARD, json={"mapped_port": 23007})
    assert check_error(taken, 409, "port_in_use") == {"mapped_port": 23007}
    assert (await running.get(WEB)).json()["services"]["web"]["mapped_port"] == 23005


async def test_ports_for_services_run_out() -> None:
    async with served.site(Policy(service_ports=PortRange(23000, 23000))) as site:
        alice = await site.user("alice")
        for name in ("one", "two"):
            await create(site, alice, name)
        assert (await alice.post(FORWARD)).status_code == 201
        answer = await alice.post("/workspaces/ws-000000000002/services/web/port-forward")
        check_error(answer, 503, "no_ports_available")
        assert answer.headers["Retry-After"] == "60"


async def test_a_service_without_a_port_cannot_be_forwarded(running: httpx.AsyncClient) -> None:
    check_error(await running.post(f"{WEB}/services/worker/port-forward"), 400, "invalid_request")


async def test_a_forward_is_closed_once(running: httpx.AsyncClient) -> None:
    await running.post(FORWARD)
    closed = await running.delete(FORWARD)
    assert (closed.status_code, closed.content) == (204, b"")
    for _ in range(2):
        check_error(await running.delete(FORWARD), 404, "port_forward_not_found")
    shown = (await running.get(WEB)).json()["services"]["web"]
    assert (shown["mapped_port"], shown["url"]) == (None, None)
    assert (await running.post(FORWARD)).status_code == 201


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_a_restart_is_accepted(site: Site, running: httpx.AsyncClient, body: bytes) -> None:
    answer = await running.post(RESTART, content=body, headers=JSON if body else {})
    assert (answer.status_code, answer.json()) == (
        202,
        {"workspace_id": ID, "service": "web", "status": "starting"},
    )
    assert site.world.faults.count("restart_service") == 1


async def test_what_needs_a_running_workspace_says_so(running: httpx.AsyncClient) -> None:
    await running.post(FORWARD)
    await running.post(f"{WEB}/stop")
    for answer in (await running.post(FORWARD), await running.post(RESTART), await running.get(LOGS)):
        assert check_error(answer, 409, "workspace_not_running") == {"status": "stopped"}


async def test_without_its_provider_nothing_is_forwarded_or_restarted(site: Site, running: httpx.AsyncClient) -> None:
    site.world.provider.available = False
    for answer in (await running.post(FORWARD), await running.post(RESTART)):
        check_error(answer, 503, "provider_unavailable")
        assert answer.headers["Retry-After"] == "10"
    site.world.provider.available = True
    site.world.faults.fail("tail", ProviderUnavailable("LXD does not answer"))
    check_error(await running.get(LOGS), 503, "provider_unavailable")


async def test_nobody_else_gets_at_a_service(running: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    await running.post(FORWARD)
    for method, path in (("POST", FORWARD), ("DELETE", FORWARD), ("POST", RESTART), ("GET", LOGS)):
        hidden = await bob.request(method, path)
        check_error(hidden, 404, "workspace_not_found")
        absent = await bob.request(method, path.replace(ID, "ws-zzzzzzzzzzzz"))
        assert hidden.json()["message"].replace(ID, "ws-zzzzzzzzzzzz") == absent.json()["message"]
    assert (await running.get(WEB)).json()["services"]["web"]["mapped_port"] == 23000


async def test_the_administrator_may_do_it_for_everyone(running: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    assert (await running.get(WEB)).status_code == 200
    answers = [await admin.post(FORWARD), await admin.post(RESTART), await admin.get(LOGS), await admin.delete(FORWARD)]
    assert [answer.status_code for answer in answers] == [201, 202, 200, 204]


async def test_who_may_only_read_changes_nothing(site: Site, running: httpx.AsyncClient) -> None:
    issued = (await running.post("/users/alice/tokens", json={"label": "r", "scopes": ["read"]})).json()
    reader = await site.client(served.bearer(issued["token"]))
    for method, path in (
        ("POST", FORWARD),
        ("DELETE", FORWARD),
        ("POST", RESTART),
        ("PUT", f"{WEB}/repository-bundle"),
    ):
        assert check_error(await reader.request(method, path), 403, "forbidden")["needed"] == "write"
    assert (await reader.get(LOGS)).status_code == 200
    assert site.world.faults.count("restart_service") == 0
