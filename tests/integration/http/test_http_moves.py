"""Start, stop and delete over HTTP."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from nexus_core.errors import ProviderFailed
from served import Site

ID = "ws-000000000001"
HERE = f"/workspaces/{ID}"
AT = "2026-01-17T10:30:00Z"
STARTING = {"workspace_id": ID, "status": "starting", "polling_url": f"/api/v1/workspaces/{ID}/status"}
STOPPED = {"workspace_id": ID, "status": "stopped", "stopped_at": AT}


@pytest.fixture
async def client(site: Site, alice: httpx.AsyncClient) -> httpx.AsyncClient:
    """A user whose workspace runs."""
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    return alice


async def test_stop_start_and_back(site: Site, client: httpx.AsyncClient) -> None:
    stopped = await client.post(f"{HERE}/stop")
    assert (stopped.status_code, stopped.json()) == (200, STOPPED)
    again = await client.post(f"{HERE}/stop")
    assert (again.status_code, again.json()["error"]) == (409, "workspace_already_stopped")
    before = (await client.get(HERE)).json()["ssh"]
    started = await client.post(f"{HERE}/start")
    assert (started.status_code, started.json()) == (202, STARTING)
    await site.world.idle()
    shown = (await client.get(HERE)).json()
    assert (shown["status"], shown["ssh"]) == ("running", before)


async def test_patch_does_what_start_and_stop_do(client: httpx.AsyncClient) -> None:
    stopped = await client.patch(f"{HERE}/status", json={"status": "stopped"})
    assert (stopped.status_code, stopped.json()) == (200, STOPPED)
    started = await client.patch(f"{HERE}/status", json={"status": "running", "force": True})
    assert (started.status_code, started.json()) == (202, STARTING)


@pytest.mark.parametrize("status", ["error", "deleted", "Running", "", None, 1, ["running"]])
async def test_patch_takes_no_other_status(client: httpx.AsyncClient, status: object) -> None:
    answer = await client.patch(f"{HERE}/status", json={"status": status})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["$.status"])


@pytest.mark.parametrize(
    ("query", "body", "forced"),
    [
        ("", None, False),
        ("", b"", False),
        ("", b"{}", False),
        ("", b'{"force": false}', False),
        ("?force=false", b'{"force": true}', True),
        ("?force=true", b'{"force": false}', True),
        ("?force=true", None, True),
    ],
)
async def test_force_is_taken_from_body_or_query(
    site: Site, client: httpx.AsyncClient, query: str, body: bytes | None, forced: bool
) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    for address in ("stop", "start"):
        answer = await client.post(f"{HERE}/{address}{query}", content=body, headers=headers)
        assert answer.is_success, answer.text
        if address == "stop":
            operation = site.world.show(ID).operation
            assert operation is not None
            assert operation.force is forced


async def test_patch_forces_by_query_too(site: Site, client: httpx.AsyncClient) -> None:
    await client.patch(f"{HERE}/status?force=true", json={"status": "stopped"})
    operation = site.world.show(ID).operation
    assert operation is not None
    assert operation.force


@pytest.mark.parametrize("force", ["1", "True", "yes", "", "on"])
async def test_force_is_true_or_false(client: httpx.AsyncClient, force: str) -> None:
    for method, address in (("POST", f"{HERE}/stop"), ("DELETE", HERE)):
        answer = await client.request(method, address, params={"force": force})
        assert (answer.status_code, list(answer.json()["details"])) == (400, ["$.force"])


async def test_moves_that_do_not_fit_say_what_does(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{HERE}/start")
    assert (answer.status_code, answer.json()["error"]) == (409, "invalid_status_transition")
    assert answer.json()["details"] == {"from": "running", "to": "running", "allowed": ["stopped", "deleted"]}


async def test_delete_wants_force_for_what_runs_and_is_gone_then(client: httpx.AsyncClient) -> None:
    refused = await client.delete(HERE)
    assert (refused.status_code, refused.json()["error"]) == (409, "workspace_running")
    gone = await client.delete(f"{HERE}?force=true")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-type" not in gone.headers
    again = await client.delete(f"{HERE}?force=true")
    assert (again.status_code, again.json()["error"]) == (404, "workspace_not_found")


async def test_deleting_again_while_it_is_cleaned_up_ends_alike(site: Site, client: httpx.AsyncClient) -> None:
    stuck = site.world.faults.hang("delete")
    first = asyncio.create_task(client.delete(f"{HERE}?force=true"))
    await stuck.entered.wait()
    second = asyncio.create_task(client.delete(HERE))
    await site.world.clock.settle()
    stuck.release()
    assert [(await one).status_code for one in (first, second)] == [204, 204]


async def test_without_the_provider_starts_wait_and_the_rest_is_refused(site: Site, client: httpx.AsyncClient) -> None:
    site.world.provider.available = False
    for method, address in (("POST", f"{HERE}/stop"), ("PATCH", f"{HERE}/status")):
        answer = await client.request(method, address, json={"status": "stopped"} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["error"]) == (503, "provider_unavailable")
        assert answer.headers["Retry-After"] == "10"
    assert (await client.get(HERE)).json()["status"] == "running"
    accepted = await client.post("/workspaces", json={"workspace_name": "second"})
    assert accepted.status_code == 202
    deleted = await client.delete(f"{HERE}?force=true")
    assert (deleted.status_code, deleted.json()["error"]) == (503, "provider_unavailable")
    assert (await client.get(HERE)).json()["status"] == "deleting"
    site.world.provider.available = True
    await site.world.clock.advance(60)
    await site.world.idle()
    assert (await client.get(HERE)).status_code == 404
    assert (await client.get(accepted.headers["Location"].removeprefix("/api/v1"))).json()["status"] == "running"


async def test_a_stop_that_fails_is_an_internal_error_with_its_cause(site: Site, client: httpx.AsyncClient) -> None:
    site.world.faults.fail("stop", ProviderFailed("LXD cannot stop it"))
    answer = await client.post(f"{HERE}/stop")
    body = answer.json()
    assert (answer.status_code, body["error"], body["details"]) == (500, "internal_error", {"cause": "provider_failed"})


async def test_a_stop_that_is_overtaken_by_a_deletion_is_a_conflict(site: Site, client: httpx.AsyncClient) -> None:
    stuck = site.world.faults.hang("stop")
    stopping = asyncio.create_task(client.post(f"{HERE}/stop"))
    await stuck.entered.wait()
    assert (await client.delete(HERE)).status_code == 204
    answer = await stopping
    assert (answer.status_code, answer.json()["error"]) in [
        (404, "workspace_not_found"),
        (409, "invalid_status_transition"),
    ]


async def test_a_creation_under_way_is_given_up_by_a_stop(site: Site, alice: httpx.AsyncClient) -> None:
    stuck = site.world.faults.hang("start")
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await stuck.entered.wait()
    assert (await alice.post(f"{HERE}/stop")).json() == STOPPED
