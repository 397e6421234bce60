"""Workspaces over HTTP, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

import served
from nexus_core.domain.host_ports import PortRange
from nexus_core.errors import ProviderFailed
from nexus_core.policy import Policy
from served import HOST, Site

AT = "2026-01-17T10:30:00Z"
ID = "ws-000000000001"
STEPS = ["create_instance", "publish_ssh", "start_instance", "wait_for_ssh"]
LATER_STEPS = ["clone_repository", "run_setup", "start_services", "forward_ports"]
STATUS = f"/api/v1/workspaces/{ID}/status"


async def create(client: httpx.AsyncClient, name: str = "web", **more: Any) -> dict[str, Any]:
    answer = await client.post("/workspaces", json={"workspace_name": name, **more})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_creation_is_accepted_at_once(alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/workspaces", json={"workspace_name": "my-project-feature"})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/workspaces/{ID}"
    assert answer.json() == {
        "workspace_id": ID,
        "name": "my-project-feature",
        "owner": "alice",
        "status": "creating",
        "ssh_port": 2222,
        "polling_url": STATUS,
        "estimated_time_seconds": 30,
        "created_at": AT,
    }


@pytest.mark.parametrize("address", [f"/workspaces/{ID}", f"/workspaces/{ID}/status", f"/workspaces/{ID}/"])
async def test_a_running_workspace_is_shown_whole(site: Site, alice: httpx.AsyncClient, address: str) -> None:
    resources = {"cpu": 4, "memory": "8GiB", "disk": "40GB"}
    await create(alice, image="ubuntu:22.04", provider="lxc", resources=resources, github_username="ALICE")
    await site.world.idle()
    key = site.world.show(ID).workspace.host_key
    assert key is not None
    answer = await alice.get(address)
    assert answer.status_code == 200
    done = [{"step": step, "status": "done", "started_at": AT, "duration_ms": 0, "error": None} for step in STEPS]
    skipped = {"status": "skipped", "started_at": None, "duration_ms": None, "error": None}
    assert answer.json() == {
        "workspace_id": ID,
        "owner": "alice",
        "name": "web",
        "status": "running",
        "provider": "lxc",
        "image": "ubuntu:22.04",
        "resources": resources,
        "ssh": {
            "host": HOST,
            "port": 2222,
            "user": "dev",
            "host_key": key.text,
            "host_key_fingerprint": key.fingerprint,
            "command": f"ssh -p 2222 dev@{HOST}",
        },
        "services": {},
        "repository": None,
        "node": "fake-1",
        "container_id": "nexus-000000000001",
        "progress": [*done, *({"step": step, **skipped} for step in LATER_STEPS)],
        "queue_position": None,
        "notes": [],
        "error": None,
        "created_at": AT,
        "updated_at": AT,
        "started_at": AT,
        "stopped_at": None,
        "last_activity_at": AT,
    }
    assert list(answer.json())[:5] == ["workspace_id", "owner", "name", "status", "provider"]


async def test_what_is_not_known_yet_is_null(site: Site, alice: httpx.AsyncClient) -> None:
    site.world.faults.hang("create")
    await create(alice)
    await site.world.clock.settle()
    shown = (await alice.get(STATUS.removeprefix("/api/v1"))).json()
    assert shown["status"] == "creating"
    assert (shown["started_at"], shown["stopped_at"], shown["error"]) == (None, None, None)
    assert [step["status"] for step in shown["progress"]] == ["running", *["pending"] * 3, *["skipped"] * 4]
    assert shown["progress"][0]["duration_ms"] is None


async def test_those_that_wait_show_their_place() -> None:
    policy = Policy(ssh_ports=PortRange(2222, 2299), creations_at_once=1)
    async with served.site(policy) as site:
        alice = await site.user("alice")
        site.world.faults.hang("create")
        assert [(await create(alice, name))["status"] for name in "abc"] == ["creating", "pending", "pending"]
        shown = [(await alice.get(f"/workspaces/ws-{number:012d}")).json()["queue_position"] for number in (1, 2, 3)]
        assert shown == [None, 1, 2]


async def test_a_failed_step_is_told(site: Site, alice: httpx.AsyncClient) -> None:
    site.world.faults.fail("start", ProviderFailed("LXD cannot start it", why="The disk is full.", fix="Make room."))
    await create(alice)
    await site.world.idle()
    shown = (await alice.get(f"/workspaces/{ID}")).json()
    assert shown["status"] == "error"
    message = "LXD cannot start it. The disk is full. Make room."
    assert shown["error"] == {"code": "provider_failed", "message": message, "step": "start_instance"}
    assert {step["step"]: step["error"] for step in shown["progress"] if step["error"]} == {"start_instance": message}


async def test_the_median_of_recent_creations_is_the_estimate(site: Site, alice: httpx.AsyncClient) -> None:
    site.world.faults.slow("create", 7.0, site.world.clock, times=1)
    await create(alice)
    await site.world.clock.advance(10)
    await site.world.idle()
    assert (await create(alice, "next"))["estimated_time_seconds"] == 7


async def test_services_come_empty(alice: httpx.AsyncClient) -> None:
    await create(alice)
    answer = await alice.get(f"/workspaces/{ID}/services")
    assert (answer.status_code, answer.json()) == (200, {"workspace_id": ID, "services": []})


async def test_lists_are_newest_first_paged_and_filtered(site: Site, alice: httpx.AsyncClient) -> None:
    for name in ("one", "two", "three"):
        await create(alice, name)
        await site.world.idle()
        await site.world.clock.advance(1)
    await alice.post(f"/workspaces/{ID}/stop")
    page = (await alice.get("/workspaces?limit=2&offset=1")).json()
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    assert [one["name"] for one in page["workspaces"]] == ["two", "one"]
    assert page["workspaces"][0] == {
        "workspace_id": "ws-000000000002",
        "name": "two",
        "owner": "alice",
        "status": "running",
        "provider": "lxc",
        "ssh_port": 2223,
        "created_at": "2026-01-17T10:30:01Z",
        "services_count": 0,
    }
    for query, names in {
        "": ["three", "two", "one"],
        "?owner=&status=&limit=50&offset=0": ["three", "two", "one"],
        "?owner=Alice&status=stopped": ["one"],
        "?status=deleted": [],
        "?offset=2147483647": [],
    }.items():
        listed = (await alice.get(f"/workspaces{query}")).json()
        assert [one["name"] for one in listed["workspaces"]] == names, query


async def test_deleted_ones_are_listed_when_asked_for(site: Site, alice: httpx.AsyncClient) -> None:
    await create(alice)
    await site.world.idle()
    await alice.delete(f"/workspaces/{ID}?force=true")
    assert (await alice.get("/workspaces")).json()["total"] == 0
    listed = (await alice.get("/workspaces?status=deleted")).json()["workspaces"]
    assert [(one["workspace_id"], one["status"]) for one in listed] == [(ID, "deleted")]


async def test_the_administrator_names_the_owner_and_lists_all(
    site: Site, admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    refused = await admin.post("/workspaces", json={"workspace_name": "web"})
    assert (refused.status_code, list(refused.json()["details"])) == (400, ["$.github_username"])
    assert (await create(admin, github_username="Alice"))["owner"] == "alice"
    await create(bob)
    assert (await admin.get("/workspaces")).json()["total"] == 2
    assert (await admin.get("/workspaces?owner=bob")).json()["total"] == 1
    assert (await admin.get("/workspaces?owner=nobody")).json()["total"] == 0
    assert (await alice.get("/workspaces")).json()["total"] == 1


async def test_a_retried_creation_is_answered_with_the_first_one(site: Site, alice: httpx.AsyncClient) -> None:
    named = {"Idempotency-Key": "a key of mine"}
    first = await alice.post("/workspaces", json={"workspace_name": "web", "image": None}, headers=named)
    again = await alice.post("/workspaces", content=b'{ "workspace_name" : "web" }', headers={**named, **_JSON})
    assert (again.status_code, again.json(), again.headers["Location"]) == (
        202,
        first.json(),
        first.headers["Location"],
    )
    other = await alice.post("/workspaces", json={"workspace_name": "web", "image": "ubuntu:22.04"}, headers=named)
    assert (other.status_code, other.json()["error"]) == (409, "idempotency_conflict")
    assert other.json()["details"] == {"workspace_id": ID}
    await site.world.idle()
    # The answer is about the workspace as it is by then.
    assert (await alice.post("/workspaces", json={"workspace_name": "web"}, headers=named)).json()[
        "status"
    ] == "running"
    assert (await alice.get("/workspaces")).json()["total"] == 1


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("key", [b"", "é".encode(), b"x" * 256, b"tab\there"])
async def test_an_idempotency_key_is_short_printable_ascii(alice: httpx.AsyncClient, key: bytes) -> None:
    answer = await alice.post("/workspaces", json={"workspace_name": "web"}, headers={b"Idempotency-Key": key})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["Idempotency-Key"])


async def test_only_one_idempotency_key_is_taken(alice: httpx.AsyncClient) -> None:
    twice = [("Idempotency-Key", "one"), ("Idempotency-Key", "two"), *alice.headers.items()]
    answer = await alice.post("/workspaces", json={"workspace_name": "web"}, headers=twice)
    assert answer.status_code == 400


async def test_ports_run_out() -> None:
    async with served.site(replace(Policy(), ssh_ports=PortRange(2222, 2222))) as site:
        alice = await site.user("alice")
        await create(alice)
        answer = await alice.post("/workspaces", json={"workspace_name": "second"})
        assert (answer.status_code, answer.json()["error"]) == (503, "no_ports_available")
        assert answer.json()["details"] == {"first": 2222, "last": 2222, "leased": 1}
        assert answer.headers["Retry-After"] == "60"
