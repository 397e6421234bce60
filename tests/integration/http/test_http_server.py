"""Health and status over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nexus_core.errors import DatabaseBusy
from served import Site

AT = "2026-01-17T10:30:00Z"


def node(**changes: Any) -> dict[str, Any]:
    return {"fake-1": {"status": "healthy", "provider": "lxc", "last_heartbeat": AT, "workspaces": 0, **changes}}


async def test_health_needs_no_token(site: Site) -> None:
    await site.world.clock.advance(5)
    answer = await (await site.client()).get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "timestamp": "2026-01-17T10:30:05Z",
        "uptime_seconds": 5,
        "nodes": node(),
        "version": "1.2.3",
    }


async def test_a_token_that_is_wrong_does_not_matter_for_health(site: Site) -> None:
    client = await site.client({"Authorization": "Bearer nonsense"})
    assert (await client.get("/health")).status_code == 200


async def test_without_its_node_the_server_is_degraded_and_still_answers_200(site: Site) -> None:
    site.world.provider.available = False
    await site.world.clock.advance(10)
    answer = await (await site.client()).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["nodes"] == node(status="unreachable")


async def test_without_its_database_the_server_is_unavailable(
    site: Site, monkeypatch: pytest.MonkeyPatch, admin: httpx.AsyncClient
) -> None:
    def busy() -> None:
        raise DatabaseBusy("The database is locked")

    monkeypatch.setattr(site.world.store, "check_writable", busy)
    answer = await admin.get("/health")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.json()["status"] == "unavailable"
    assert set(answer.json()) == {"status", "timestamp", "uptime_seconds", "nodes", "version"}


async def test_that_the_database_can_be_written_is_tried_once_a_second(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[None] = []
    monkeypatch.setattr(site.world.store, "check_writable", lambda: tried.append(None))
    nobody = await site.client()
    for _ in range(3):
        assert (await nobody.get("/health")).status_code == 200
    assert len(tried) == 1
    await site.world.clock.advance(1)
    await nobody.get("/health")
    assert len(tried) == 2


async def test_status_is_health_and_figures(site: Site, alice: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    answer = await alice.get("/status")
    body = answer.json()
    assert (answer.status_code, body.pop("database")["schema_version"]) == (200, 3)
    assert body == {
        "status": "ok",
        "timestamp": AT,
        "uptime_seconds": 0,
        "nodes": node(workspaces=1),
        "version": "1.2.3",
        "ports": {
            "ssh": {"first": 2222, "last": 2225, "used": 1, "free": 3},
            "services": {"first": 23000, "last": 23999, "used": 0, "free": 1000},
        },
        "workspaces": {"running": 1},
        "operations": {"queued": 0, "running": 0},
        "providers": {"lxc": {"available": True, "version": "1.0", "error": None}},
    }


async def test_status_says_why_a_provider_is_away(site: Site, admin: httpx.AsyncClient) -> None:
    site.world.provider.available = False
    await site.world.clock.advance(10)
    body = (await admin.get("/status")).json()
    assert body["providers"]["lxc"]["available"] is False
    assert body["providers"]["lxc"]["error"]
