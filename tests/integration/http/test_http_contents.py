"""Repositories, set-up scripts and services over HTTP: how they are asked for and how they are shown."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import served
from nexus_cli import logs
from nexus_core.domain.host_ports import PortRange
from nexus_core.policy import Policy
from nexus_fakes.workbench import FakeRepository
from served import HOST, Site

ID = "ws-000000000001"
WEB = f"/workspaces/{ID}"
URL = "https://github.com/my-org/my-project.git"
API: dict[str, Any] = {"name": "api", "command": "npm run server", "port": 4000, "depends_on": ["db"]}
DB: dict[str, Any] = {"name": "db", "command": "postgres -D /data", "port": 5432, "expose": False}
CHECK = {"type": "exec", "command": "pg_isready"}
TOKEN = "canary-token-0123456789"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanarykey\n-----END OPENSSH PRIVATE KEY-----\n"


def asking(**more: Any) -> dict[str, Any]:
    return {"workspace_name": "web", **more}


def with_service(**more: Any) -> dict[str, Any]:
    return asking(services=[{**DB, **more}])


async def refused(client: httpx.AsyncClient, body: dict[str, Any], error: str = "invalid_request") -> dict[str, Any]:
    """The details of the refusal; nothing was made."""
    answer = await client.post("/workspaces", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text
    assert (await client.get("/workspaces")).json()["total"] == 0
    details: dict[str, Any] = answer.json()["details"]
    return details


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (asking(repo={"url": URL, "banch": "main"}), {"$.repo.banch"}),
        (asking(repo={"url": 5, "is_fork": "no"}), {"$.repo.url", "$.repo.is_fork"}),
        (asking(repo={}), {"$.repo.url"}),
        (asking(repo={"owner": "my-org"}), {"$.repo.url"}),
        (asking(repo={"url": "/srv/project"}), {"$.repo.url"}),
        (asking(repo={"url": "file:///srv/project"}), {"$.repo.url"}),
        (asking(repo={"url": "https://me:secret@github.com/o/n"}), {"$.repo.url"}),
        (asking(repo={"url": URL, "branch": "a b"}), {"$.repo.branch"}),
        (asking(repo={"url": URL, "branch": "--upload-pack=x"}), {"$.repo.branch"}),
        (asking(repo={"owner": "my/org", "name": "x"}), {"$.repo.owner"}),
        (asking(repo={"url": URL, "deploy_key": KEY}), {"$.repo.deploy_key"}),
        (asking(repo={"url": "git@github.com:o/n.git", "token": TOKEN}), {"$.repo.token"}),
        (asking(repo={"bundle": True, "token": TOKEN}), {"$.repo.bundle"}),
        (asking(repo=[URL]), {"$.repo"}),
        (asking(setup="npm ci"), {"$.setup"}),
        (asking(setup=["npm ci", ""]), {"$.setup[1]"}),
        (asking(setup=["npm ci", "  "]), {"$.setup[1]"}),
        (asking(setup=["a\u0000b"]), {"$.setup[0]"}),
        (asking(setup=[None, 5]), {"$.setup[0]", "$.setup[1]"}),
        (asking(setup=["true"] * 101), {"$.setup"}),
        (asking(services={}), {"$.services"}),
        (asking(services=[DB, 5]), {"$.services[1]"}),
        (asking(services=[{"nmae": "db"}]), {"$.services[0].nmae", "$.services[0].name", "$.services[0].command"}),
        (asking(services=[DB, {"name": "x", "comand": "y"}]), {"$.services[1].comand", "$.services[1].command"}),
        (asking(services=[{"name": f"s{number}", "command": "x"} for number in range(101)]), {"$.services"}),
        (with_service(name="-db"), {"$.services[0].name"}),
        (with_service(name="d/b"), {"$.services[0].name"}),
        (with_service(name="x" * 64), {"$.services[0].name"}),
        (with_service(command=""), {"$.services[0].command"}),
        (with_service(command=None), {"$.services[0].command"}),
        (with_service(port=0), {"$.services[0].port"}),
        (with_service(port=65536), {"$.services[0].port"}),
        (with_service(port="5432"), {"$.services[0].port"}),
        (with_service(port=None, expose=True), {"$.services[0].expose"}),
        (with_service(depends_on="db"), {"$.services[0].depends_on"}),
        (with_service(depends_on=["x", None]), {"$.services[0].depends_on[1]"}),
        (with_service(env={"A": 1, "B": "x", "C": None}), {"$.services[0].env.A", "$.services[0].env.C"}),
        (with_service(env={"1A": "x"}), {"$.services[0].env.1A"}),
        (with_service(env={"A": "\u0000"}), {"$.services[0].env.A"}),
        (with_service(env=[]), {"$.services[0].env"}),
        (with_service(health_check="tcp"), {"$.services[0].health_check"}),
        (with_service(health_check={}), {"$.services[0].health_check.type"}),
        (with_service(health_check={"type": "icmp"}), {"$.services[0].health_check.type"}),
        (with_service(health_check={"type": "exec"}), {"$.services[0].health_check.command"}),
        (with_service(health_check={"type": "custom"}), {"$.services[0].health_check.command"}),
        (with_service(health_check={"type": "tcp", "intervall": 5}), {"$.services[0].health_check.intervall"}),
        (with_service(health_check={"type": "tcp", "interval": 0}), {"$.services[0].health_check.interval"}),
        (with_service(health_check={"type": "tcp", "timeout": "5"}), {"$.services[0].health_check.timeout"}),
        (with_service(health_check={"type": "tcp", "retries": 0}), {"$.services[0].health_check.retries"}),
        (with_service(health_check={"type": "tcp", "start_period": -1}), {"$.services[0].health_check.start_period"}),
        (with_service(health_check={"type": "http", "path": "x"}), {"$.services[0].health_check.path"}),
        (
            with_service(health_check={"type": "http", "expected_status": 99}),
            {"$.services[0].health_check.expected_status"},
        ),
        (with_service(port=None, expose=None, health_check={"type": "tcp"}), {"$.services[0].health_check.type"}),
        (
            asking(repo={"x": 1}, setup=[1], services=[{**DB, "health_check": {"type": "tcp", "y": 1}}]),
            {"$.repo.x", "$.setup[0]", "$.services[0].health_check.y"},
        ),
    ],
)
async def test_what_does_not_fit_is_named_by_its_path(
    alice: httpx.AsyncClient, body: dict[str, Any], wrong: set[str]
) -> None:
    details = await refused(alice, body)
    assert set(details) == wrong
    assert all(details.values())


@pytest.mark.parametrize(
    ("services", "details"),
    [
        ([{**DB, "depends_on": ["db"]}], {"cycle": ["db", "db"]}),
        ([API, {**DB, "depends_on": ["api"]}], {"cycle": ["api", "db", "api"]}),
        ([API], {"service": "api", "unknown": "db"}),
        ([DB, {**DB, "port": 5433}], {"duplicate": "db"}),
        ([DB, {**DB, "name": "other"}], {"duplicate": 5432, "services": ["db", "other"]}),
    ],
)
async def test_services_that_have_no_order_are_refused(
    alice: httpx.AsyncClient, services: list[dict[str, Any]], details: dict[str, Any]
) -> None:
    assert await refused(alice, asking(services=services), "invalid_service_graph") == details


NULLS: list[dict[str, Any]] = [
    asking(repo=None, setup=None, services=None),
    asking(
        repo={
            "url": URL,
            **dict.fromkeys(("owner", "name", "branch", "is_fork", "bundle", "token", "deploy_key")),
        }
    ),
    asking(services=[{**DB, **dict.fromkeys(("port", "depends_on", "env", "health_check", "expose"))}]),
    asking(
        services=[
            {
                **DB,
                "health_check": {
                    "type": "tcp",
                    **dict.fromkeys(
                        ("path", "expected_status", "command", "interval", "timeout", "retries", "start_period")
                    ),
                },
            }
        ]
    ),
]


@pytest.mark.parametrize("body", NULLS)
async def test_null_is_as_good_as_left_out(site: Site, alice: httpx.AsyncClient, body: dict[str, Any]) -> None:
    named = {"Idempotency-Key": "x"}
    first = await alice.post("/workspaces", json=body, headers=named)
    assert first.status_code == 202, first.text
    again = await alice.post("/workspaces", json=_without_nulls(body), headers=named)
    assert (again.status_code, again.json()["workspace_id"]) == (202, ID)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


async def test_the_order_of_keys_does_not_matter_to_an_idempotency_key(alice: httpx.AsyncClient) -> None:
    named = {"Idempotency-Key": "x", "Content-Type": "application/json"}
    body = asking(repo={"url": URL, "branch": "main"}, services=[{**DB, "env": {"A": "1", "B": "2"}}])
    turned = asking(services=[{"env": {"B": "2", "A": "1"}, **dict(reversed(DB.items()))}], repo=body["repo"])
    assert json.dumps(body) != json.dumps(turned)
    for one in (body, turned):
        answer = await alice.post("/workspaces", content=json.dumps(one), headers=named)
        assert (answer.status_code, answer.json()["workspace_id"]) == (202, ID)
    for other in ({**body, "setup": ["x"]}, {**body, "services": [{**DB, "env": {"A": "1", "B": "3"}}]}):
        answer = await alice.post("/workspaces", json=other, headers=named)
        assert (answer.status_code, answer.json()["error"]) == (409, "idempotency_conflict")


async def test_a_workspace_with_everything_is_shown_whole(site: Site, alice: httpx.AsyncClient) -> None:
    site.world.insides.repositories[URL] = FakeRepository(token=TOKEN)
    body = asking(
        repo={"owner": "my-org", "name": "my-project", "token": TOKEN, "is_fork": True},
        setup=["npm ci"],
        services=[
            {**API, "env": {"NODE_ENV": "development"}},
            {**DB, "health_check": CHECK},
            {"name": "worker", "command": "npm run worker"},
        ],
    )
    assert (await alice.post("/workspaces", json=body)).status_code == 202
    await site.world.idle()
    shown = (await alice.get(WEB)).json()
    assert (shown["status"], shown["error"]) == ("running", None)
    assert {step["status"] for step in shown["progress"]} == {"done"}
    assert shown["repository"] == {
        "owner": "my-org",
        "name": "my-project",
        "branch": "main",
        "commit": "1" * 40,
        "url": URL,
        "is_fork": True,
    }
    db = {
        "name": "db",
        "status": "running",
        "port": 5432,
        "mapped_port": None,
        "health": "healthy",
        "url": None,
        "depends_on": [],
        "last_check": shown["services"]["db"]["last_check"],
        "error": None,
    }
    api = {
        **db,
        "name": "api",
        "port": 4000,
        "mapped_port": 23000,
        "url": "http://localhost:23000",
        "depends_on": ["db"],
        "last_check": shown["services"]["api"]["last_check"],
    }
    worker = {**db, "name": "worker", "port": None, "last_check": shown["services"]["worker"]["last_check"]}
    assert shown["services"] == {"db": db, "api": api, "worker": worker}
    assert list(shown["services"]) == ["db", "worker", "api"]
    listed = (await alice.get(f"{WEB}/services")).json()
    assert listed == {"workspace_id": ID, "services": [db, worker, api]}
    assert (await alice.get("/workspaces")).json()["workspaces"][0]["services_count"] == 3
    [kept] = [one.spec for one in site.world.show(ID).services if one.name == "api"]
    assert (kept.health_check.type, kept.expose, dict(kept.env)) == ("tcp", True, {"NODE_ENV": "development"})
    [kept] = [one.spec for one in site.world.show(ID).services if one.name == "worker"]
    assert (kept.health_check.type, kept.expose) == ("none", False)


@pytest.mark.parametrize(
    ("address", "host", "base"),
    [
        ("127.0.0.1", HOST, "http://localhost"),
        ("127.0.0.2", HOST, "http://localhost"),
        ("192.0.2.7", HOST, f"http://{HOST}"),
        (None, HOST, f"http://{HOST}"),
        (None, "2001:db8::7", "http://[2001:db8::7]"),
    ],
)
async def test_forwards_are_reached_where_they_are_published(
    monkeypatch: pytest.MonkeyPatch, address: str | None, host: str, base: str
) -> None:
    monkeypatch.setattr(served, "HOST", host)
    policy = Policy(ssh_ports=PortRange(2222, 2225), service_ports=PortRange(23500, 23510), service_address=address)
    async with served.site(policy) as site:
        alice = await site.user("alice")
        await alice.post("/workspaces", json=asking(services=[{**DB, "expose": True}]))
        await site.world.idle()
        assert (await alice.get(WEB)).json()["services"]["db"]["url"] == f"{base}:23500"
        forward = await alice.post(f"{WEB}/services/db/port-forward")
        assert (forward.status_code, forward.json()["url"]) == (200, f"{base}:23500")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the server writes to its log, as it writes it."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    root.handlers, root.level = before


async def test_what_opens_a_repository_is_told_to_nobody(
    log: io.StringIO, site: Site, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    for number, repo in enumerate(
        [
            {"url": URL, "token": TOKEN},  # cannot be cloned: there is no such repository
            {"url": "git@github.com:o/n.git", "deploy_key": KEY},
            {"url": URL, "token": TOKEN, "deploy_key": KEY},
            {"url": URL, "token": TOKEN + " "},
            {"url": "git@github.com:o/n.git", "token": TOKEN},
            {"url": URL, "deploy_key": "canarykey"},
            {"url": URL, "token": [TOKEN], "deploy_key": KEY},
            {"url": URL, "token": TOKEN, "unknown": 1},
            {"url": f"https://me:{TOKEN}@github.com/o/n.git"},
            {"url": f"https://{TOKEN}@github.com/o/n.git"},
            {"url": f"ftp://me:{TOKEN}@github.com/o/n.git"},
        ]
    ):
        env = {"SECRET": TOKEN, "1": TOKEN} if number == 9 else {"SECRET": TOKEN}
        body = {"workspace_name": f"w{number}", "repo": repo, "services": [{**DB, "env": env}]}
        named = {"Idempotency-Key": f"key-{number}"}
        answer = await alice.post("/workspaces", json=body, headers=named)
        assert answer.status_code == (202 if number < 2 else 400), answer.text
        again = await alice.post("/workspaces", json={**body, "setup": ["x"]}, headers=named)
        await site.world.idle()
        for text in (answer.text, again.text):
            assert "canary" not in text
    for client in (alice, admin):
        for path in ("", f"/{ID}", f"/{ID}/status", f"/{ID}/services", "/ws-000000000002", f"/{ID}/logs"):
            answer = await client.get(f"/workspaces{path}")
            assert answer.status_code == 200
            assert "canary" not in answer.text
    assert (await alice.get(WEB)).json()["error"]["step"] == "clone_repository"
    assert "canary" not in log.getvalue()
