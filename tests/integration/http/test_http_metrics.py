"""`GET /metrics` over a real socket, read by Prometheus's own parser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import httpx
import pytest
from litestar.types import Receive, Scope, Send

import served
from nexus_core.errors import DatabaseBusy, ProviderFailed
from nexus_http import visits
from nexus_http.meters import HttpMeters
from nexus_http.reception import Reception
from nexus_prometheus.families import FAMILIES
from scraped import Scrape, scrape
from served import ADMIN_TOKEN, Site, bearer

BASE = "/api/v1"
METRICS = f"{BASE}/metrics"
REQUESTS = "nexus_http_request_duration_seconds"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator at a real socket."""
    async with (
        served.listening(site.app) as server,
        httpx.AsyncClient(base_url=server.url, headers=bearer(ADMIN_TOKEN), timeout=30) as client,
    ):
        yield client


async def metrics(client: httpx.AsyncClient) -> Scrape:
    answer = await client.get(METRICS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, TEXT)
    assert answer.headers["X-Request-ID"].startswith("req-")
    return scrape(answer.text)


async def test_a_creation_shows_in_every_family(site: Site, client: httpx.AsyncClient) -> None:
    site.world.register("alice")
    site.world.faults.slow("create", 0.7, site.world.clock)
    body = {"workspace_name": "web", "github_username": "alice"}
    await client.post(f"{BASE}/workspaces", json=body)
    await site.world.clock.advance(0.7)
    await site.world.idle()
    await client.get(f"{BASE}/workspaces/ws-000000000001")
    found = await metrics(client)

    assert {family.name.removesuffix("_total") for family in FAMILIES} <= set(found.families)
    assert all(family.documentation for family in found.families.values())
    assert found.value("nexus_creation_duration_seconds_count", status="succeeded") == 1
    assert found.value("nexus_creation_duration_seconds_sum") == pytest.approx(0.7)
    assert found.value("nexus_operation_duration_seconds_sum", kind="create", status="succeeded") == pytest.approx(0.7)
    assert found.value("nexus_step_duration_seconds_sum", step="create_instance") == pytest.approx(0.7)
    assert found.value("nexus_step_duration_seconds_count", status="done") == 4
    assert found.value("nexus_workspaces", status="running") == 1
    assert found.value("nexus_ports", kind="ssh", state="used") == 1
    assert found.value("nexus_node_up") == found.value("nexus_database_up") == 1
    assert found.value("nexus_database_size_bytes") > 0
    assert found.value("nexus_build_info", version="1.2.3") == 1
    read = {"method": "GET", "route": f"{BASE}/workspaces/{{workspace_id}}", "status": "200"}
    assert found.value(f"{REQUESTS}_count", **read) == 1
    assert 0 < found.value(f"{REQUESTS}_sum", **read) < 10
    assert found.value(f"{REQUESTS}_count", method="POST", route=f"{BASE}/workspaces", status="202") == 1


async def test_every_histogram_is_one(site: Site, client: httpx.AsyncClient) -> None:
    site.world.register("alice")
    await client.post(f"{BASE}/workspaces", json={"workspace_name": "web", "github_username": "alice"})
    await site.world.idle()
    found = await metrics(client)
    histograms = [family for family in found.families.values() if family.type == "histogram"]
    assert len(histograms) == 4
    for family in histograms:
        series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = dict(sample.labels)
                bound = float(labels.pop("le"))
                series.setdefault(tuple(sorted(labels.items())), []).append((bound, sample.value))
        assert series
        for key, buckets in series.items():
            counts = [count for _, count in sorted(buckets)]
            assert counts == sorted(counts)
            assert counts[-1] == found.value(f"{family.name}_count", **dict(key))


@pytest.mark.parametrize("hostile", range(2))
async def test_hostile_paths_and_methods_make_no_series(client: httpx.AsyncClient, hostile: int) -> None:
    """What is counted after many of them is what is counted after one of each."""
    times = 1 + 30 * hostile
    for number in range(times):
        await client.get(f"/hostile/{number}")
        await client.get(f"{BASE}/workspaces/ws-{number}%22%0A%7D/nothing")
        await client.get(f"/{'x' * 3000}{number}")
        await client.get(f"{BASE}/workspaces/ws-{number}", headers={"Authorization": f"Bearer nxs_{number}"})
        for method in ("PROPFIND", "TRACE", "MKCOL"):  # those that the server knows as HTTP's at all
            await client.request(method, f"{BASE}/workspaces/ws-{number}")
            await client.request(method, f"/hostile/{number}")
        await client.request("MADE-UP", f"{BASE}/workspaces/ws-{number}")
    found = await metrics(client)
    assert {
        tuple(labels[name] for name in ("method", "route", "status")): count
        for labels, count in found.samples(f"{REQUESTS}_count")
    } == {
        ("GET", "none", "404"): 3 * times,
        ("GET", f"{BASE}/workspaces/{{workspace_id}}", "401"): times,
        ("other", "none", "404"): 3 * times,
        ("other", "none", "405"): 3 * times,
    }
    assert {labels["code"]: count for labels, count in found.samples("nexus_http_errors_total")} == {
        "not_found": 6 * times,
        "unauthorized": times,
        "method_not_allowed": 3 * times,
    }


async def test_errors_of_the_provider_can_be_told_from_others(site: Site, client: httpx.AsyncClient) -> None:
    site.world.register("alice")
    site.world.faults.fail("create", ProviderFailed("No room"))
    await client.post(f"{BASE}/workspaces", json={"workspace_name": "web", "github_username": "alice"})
    await site.world.idle()
    found = await metrics(client)
    assert found.value("nexus_errors_total", source="provider") == 1
    assert found.value("nexus_errors_total", source="provider", code="provider_failed") == 1
    assert found.value("nexus_errors_total") == 1


async def test_it_needs_a_token_that_reads_and_any_will_do(site: Site) -> None:
    assert (await (await site.client()).get("/metrics")).status_code == 401
    assert (await (await site.client(bearer("nxs_" + "b" * 43))).get("/metrics")).status_code == 401
    reader = await site.user("alice", "read")
    assert (await reader.get("/metrics")).status_code == 200
    writer = await site.user("bob", "write")
    assert (await writer.get("/metrics")).status_code == 403
    assert (await reader.get("/metrics?verbose=1")).status_code == 400
    assert (await reader.post("/metrics")).status_code == 405


async def test_head_has_the_head_alone(site: Site, admin: httpx.AsyncClient) -> None:
    answer = await admin.head("/metrics")
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"", TEXT)


async def test_the_settings_may_open_it() -> None:
    async with served.site(metrics_open=True) as site:
        nobody = await site.client()
        assert (await nobody.get("/metrics")).status_code == 200
        assert (await nobody.get("/status")).status_code == 401
        assert (await nobody.get("/metrics?verbose=1")).status_code == 400


async def test_openmetrics_for_those_who_ask(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("# EOF\n")


def away(*_: object, **__: object) -> NoReturn:
    raise DatabaseBusy("The database is locked")


async def test_it_answers_while_the_database_is_away_whoever_was_known_before(
    site: Site, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await site.user("alice")
    assert (await admin.get("/metrics")).status_code == 200
    for method in ("snapshot", "transaction", "check_writable"):
        monkeypatch.setattr(site.world.store, method, away)
    answer = await admin.get("/metrics")
    assert answer.status_code == 200
    found = scrape(answer.text)
    assert (found.value("nexus_database_up"), found.value("nexus_node_up")) == (0, 1)
    assert found.values("nexus_workspaces") == []
    # Who never asked before cannot be known, nor can a token that was refused be taken for one that is valid.
    assert (await alice.get("/metrics")).status_code == 503
    assert (await admin.get("/metrics")).status_code == 200


async def test_a_token_that_was_revoked_is_not_remembered(
    site: Site, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await site.user("alice")
    assert (await alice.get("/metrics")).status_code == 200
    [token] = (await admin.get("/users/alice/tokens")).json()["tokens"]
    await admin.delete(f"/users/alice/tokens/{token['token_id']}")
    assert (await alice.get("/metrics")).status_code == 401
    monkeypatch.setattr(site.world.store, "snapshot", away)
    assert (await alice.get("/metrics")).status_code == 503


async def test_only_the_last_few_are_remembered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [await site.user(f"reader{number}") for number in range(17)]
    for reader in readers:
        assert (await reader.get("/metrics")).status_code == 200
    monkeypatch.setattr(site.world.store, "snapshot", away)
    assert (await readers[0].get("/metrics")).status_code == 503
    assert (await readers[-1].get("/metrics")).status_code == 200


async def test_an_answer_that_goes_on_is_timed_until_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(visits, "time", SimpleNamespace(perf_counter=lambda: now))
    measured: list[dict[str, Any]] = []

    async def follow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal now
        now += 0.25
        await send({"type": "http.response.start", "status": 200, "headers": []})
        now += 3600
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def request_answered(**request: Any) -> None:
        measured.append(request)

    meters = SimpleNamespace(request_answered=request_answered)
    scope: Any = {"type": "http", "method": "GET", "path": "/x", "path_template": "/{name}", "headers": []}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    await Reception(follow, cast("HttpMeters", meters))(scope, receive, send)
    assert measured == [{"method": "GET", "route": "/{name}", "status": 200, "seconds": 0.25, "error": None}]
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
