"""What is made of bodies, queries and paths that do not fit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from nexus_fakes import FakeKeys
from nexus_http import bodies, intake
from served import ADMIN_TOKEN, Site

KEY = FakeKeys.sample("carol").text
JSON = {"Content-Type": "application/json"}
WEB = "/workspaces/ws-000000000001"


async def details_of(answer: httpx.Response) -> dict[str, str]:
    body = answer.json()
    assert (answer.status_code, body["error"]) == (400, "invalid_request"), body
    details: dict[str, str] = body["details"]
    return details


REGISTRATION = {"github_username": "carol", "github_id": 5, "ssh_pubkey": KEY}
CREATION = {"workspace_name": "web"}


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/users/register-github", {}, {"$.github_username", "$.github_id", "$.ssh_pubkey"}),
        ("/users/register-github", {**REGISTRATION, "github_id": "5"}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": True}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": 5.0}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": 0}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": 2**63}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": 10**30}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_id": None}, {"$.github_id"}),
        ("/users/register-github", {**REGISTRATION, "github_username": "-carol"}, {"$.github_username"}),
        ("/users/register-github", {**REGISTRATION, "github_username": "ca--rol"}, {"$.github_username"}),
        ("/users/register-github", {**REGISTRATION, "github_username": "carol\n"}, {"$.github_username"}),
        ("/users/register-github", {**REGISTRATION, "github_username": "a" * 40}, {"$.github_username"}),
        ("/users/register-github", {**REGISTRATION, "email": "nobody"}, {"$.email"}),
        ("/users/register-github", {**REGISTRATION, "email": "a@b\u0000"}, {"$.email"}),
        ("/users/register-github", {**REGISTRATION, "emial": "a@b"}, {"$.emial"}),
        ("/users/register-github", {**REGISTRATION, "ssh_pubkey": KEY + "x" * 20_000}, {"$.ssh_pubkey"}),
        ("/users/register-github", {**REGISTRATION, "ssh_pubkey": [KEY]}, {"$.ssh_pubkey"}),
        ("/users/alice/tokens", {"label": ""}, {"$.label"}),
        ("/users/alice/tokens", {"label": "  "}, {"$.label"}),
        ("/users/alice/tokens", {"label": "a\u0000b"}, {"$.label"}),
        ("/users/alice/tokens", {"label": "x" * 101}, {"$.label"}),
        ("/users/alice/tokens", {"label": "x", "scope": ["read"], "scopes": 5}, {"$.scope", "$.scopes"}),
        ("/workspaces", {}, {"$.workspace_name"}),
        ("/workspaces", {"workspace_name": None}, {"$.workspace_name"}),
        ("/workspaces", {"workspace_name": "9web"}, {"$.workspace_name"}),
        ("/workspaces", {"workspace_name": "web-"}, {"$.workspace_name"}),
        ("/workspaces", {"workspace_name": "web\n"}, {"$.workspace_name"}),
        ("/workspaces", {"workspace_name": "w" * 64}, {"$.workspace_name"}),
        ("/workspaces", {**CREATION, "image": "../etc"}, {"$.image"}),
        ("/workspaces", {**CREATION, "image": "a\nb"}, {"$.image"}),
        ("/workspaces", {**CREATION, "image": ""}, {"$.image"}),
        ("/workspaces", {**CREATION, "resources": []}, {"$.resources"}),
        ("/workspaces", {**CREATION, "resources": {"cpus": 2}}, {"$.resources.cpus"}),
        (
            "/workspaces",
            {**CREATION, "resources": {"cpu": "2", "memory": 4}},
            {"$.resources.cpu", "$.resources.memory"},
        ),
        ("/workspaces", {**CREATION, "resources": {"cpu": 0}}, {"$.resources.cpu"}),
        ("/workspaces", {**CREATION, "resources": {"cpu": 513}}, {"$.resources.cpu"}),
        ("/workspaces", {**CREATION, "resources": {"memory": "4"}}, {"$.resources.memory"}),
        ("/workspaces", {**CREATION, "resources": {"memory": "4GiB\n"}}, {"$.resources.memory"}),
        ("/workspaces", {**CREATION, "resources": {"memory": "1KiB"}}, {"$.resources.memory"}),
        ("/workspaces", {**CREATION, "resources": {"disk": "-1GiB"}}, {"$.resources.disk"}),
        ("/workspaces", {**CREATION, "resources": {"disk": "999999999TiB"}}, {"$.resources.disk"}),
        ("/workspaces", [], {"$"}),
        ("/workspaces", None, {"$"}),
        ("/workspaces", "web", {"$"}),
        (f"{WEB}/stop", {"force": 1}, {"$.force"}),
        (f"{WEB}/stop", {"force": "true"}, {"$.force"}),
        (f"{WEB}/stop", {"forced": True}, {"$.forced"}),
        (f"{WEB}/start", {"force": None}, {"$.force"}),
        (f"{WEB}/start", [], {"$"}),
    ],
)
async def test_every_field_that_does_not_fit_is_named(
    site: Site, admin: httpx.AsyncClient, path: str, body: Any, wrong: set[str]
) -> None:
    site.world.register("alice")
    if isinstance(body, dict) and "workspace_name" in body:
        body = {"github_username": "alice", **body}
    answer = await admin.post(path, content=json.dumps(body), headers=JSON)
    details = await details_of(answer)
    assert set(details) == wrong
    assert all(details.values())


async def test_patterns_are_told_in_words(alice: httpx.AsyncClient) -> None:
    details = await details_of(await alice.post("/workspaces", json={"workspace_name": "Web"}))
    assert "starting with a letter" in details["$.workspace_name"]


async def test_no_more_than_twenty_fields_are_named(alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/workspaces", json={f"field{number}": 1 for number in range(1000)})
    assert len(await details_of(answer)) == 20


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"{}x",
        b"{'workspace_name': 'web'}",
        b'{"workspace_name": "web",}',
        b'\xef\xbb\xbf{"workspace_name": "web"}',
        b'{"workspace_name": "\xff"}',
        b'{"workspace_name": "\\ud800"}',
        b'{"workspace_name": NaN}',
        b'{"workspace_name": "a\nb"}',
        b'{"workspace_name": "web", "x": ' + b"[" * 100_000,
        b'{"resources": ' * 50_000,
        b'{"workspace_name": ' + b"9" * 100_000 + b"}",
        b"[" * 500_000,
        b"\x00",
        b" ",
        "{}".encode("utf-16"),
    ],
    ids=lambda raw: repr(raw[:30]),
)
async def test_what_is_not_json_is_refused(alice: httpx.AsyncClient, raw: bytes) -> None:
    assert await details_of(await alice.post("/workspaces", content=raw, headers=JSON))


async def test_a_body_that_is_needed_and_missing_is_refused(alice: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/workspaces"), ("PUT", "/users/alice/ssh-key"), ("PATCH", f"{WEB}/status")):
        details = await details_of(await alice.request(method, path))
        assert details == {"$": "a JSON object is required"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 202),
        ({"Content-Type": "application/json; charset=utf-8"}, 202),
        ({"Content-Type": 'APPLICATION/JSON;charset="UTF-8"'}, 202),
        ({"Content-Type": "application/json; charset=us-ascii; x=y"}, 202),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 202),
        ({}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ],
)
async def test_a_body_is_said_to_be_json(alice: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    answer = await alice.post("/workspaces", content=b'{"workspace_name": "web"}', headers=headers)
    assert answer.status_code == status, answer.text


async def test_where_no_body_is_needed_no_type_is_either(site: Site, alice: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json=CREATION)
    await site.world.idle()
    assert (await alice.post(f"{WEB}/stop", headers={"Content-Type": "text/plain"})).status_code == 200
    wrong = await alice.post(f"{WEB}/start", content=b"{}")
    assert (wrong.status_code, wrong.json()["error"]) == (415, "unsupported_media_type")


async def test_bodies_up_to_a_mebibyte_are_taken(alice: httpx.AsyncClient) -> None:
    body = b'{"workspace_name": "web"}'
    whole = body + b" " * (bodies.MAX_BODY - len(body))
    assert (await alice.post("/workspaces", content=whole, headers=JSON)).status_code == 202
    for path in ("/workspaces", f"{WEB}/stop"):
        answer = await alice.post(path, content=whole + b" ", headers=JSON)
        assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")
        assert answer.json()["details"] == {"limit": 1048576}


async def test_bodies_of_unknown_length_are_bounded_too(alice: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    answer = await alice.post("/workspaces", content=pieces(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["x", "-1", "9" * 30])
async def test_a_length_that_is_none_is_too_long(site: Site, monkeypatch: pytest.MonkeyPatch, length: str) -> None:
    monkeypatch.setattr(intake, "PATIENCE", 0.05)
    # httpx and the server's parser refuse these themselves; another server in front may not.
    answer = await raw_request(site, [(b"content-length", length.encode())], [b"{}"])
    assert answer == 413


async def test_a_client_that_goes_away_is_answered_nothing_it_would_miss(site: Site) -> None:
    assert await raw_request(site, [], [b"{", None]) == 400


async def test_a_body_that_does_not_come_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)
    assert await raw_request(site, [], [b"{"]) == 400


async def raw_request(site: Site, headers: list[tuple[bytes, bytes]], pieces: list[bytes | None]) -> int:
    """The status of a creation whose body comes in these pieces, without an end; None breaks the connection."""
    waiting = list(pieces)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        piece = waiting.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/v1/workspaces",
        "raw_path": b"/api/v1/workspaces",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode()), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await site.app(scope, receive, send)  # type: ignore[arg-type]  # made by hand
    return statuses[0]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("limit=0", {"$.limit"}),
        ("limit=201", {"$.limit"}),
        ("limit=-1", {"$.limit"}),
        ("limit=", {"$.limit"}),
        ("limit=5.0", {"$.limit"}),
        ("limit=1e1", {"$.limit"}),
        ("limit=%2B5", {"$.limit"}),
        ("limit=%D9%A5", {"$.limit"}),
        ("limit=true", {"$.limit"}),
        ("limit=10&limit=20", {"$.limit"}),
        ("offset=-1", {"$.offset"}),
        ("offset=2147483648", {"$.offset"}),
        ("offset=" + "9" * 5000, {"$.offset"}),
        ("status=Running", {"$.status"}),
        ("status=running,stopped", {"$.status"}),
        ("status=running&status=stopped", {"$.status"}),
        ("owner=not%20a%20name", {"$.owner"}),
        ("owner=a%00b", {"$.owner"}),
        ("owner=%FF", {"$.owner"}),
        ("Limit=5", {"$.Limit"}),
        ("page=2&limit=0", {"$.page", "$.limit"}),
        ("force=true", {"$.force"}),
        ("&=&", {"$."}),
    ],
)
async def test_every_parameter_that_does_not_fit_is_named(
    alice: httpx.AsyncClient, query: str, wrong: set[str]
) -> None:
    assert set(await details_of(await alice.get(f"/workspaces?{query}"))) == wrong


async def test_a_query_of_endless_parameters_is_refused(alice: httpx.AsyncClient) -> None:
    await details_of(await alice.get("/workspaces?" + "&".join(f"a{number}=1" for number in range(3000))))


@pytest.mark.parametrize(
    "path",
    [
        "/users/alice?x=1",
        "/users/alice/tokens?limit=5",
        f"{WEB}?force=true",
        f"{WEB}/status?x",
        f"{WEB}/services?x=",
        f"{WEB}/logs?tail=5",
        f"{WEB}/services/api/logs?limit=5",
        "/status?verbose=1",
        "/health?x=1",
    ],
)
async def test_parameters_that_are_not_there_are_refused_everywhere(alice: httpx.AsyncClient, path: str) -> None:
    answer = await alice.get(path)
    assert list((await details_of(answer)).values()) == ["unknown parameter"]


ODD = [
    "%00",
    "a%00b",
    "%FF",
    "%F0%9F%92%A9",
    "a%2Fb",
    "..%2f..%2fetc",
    "%0a",
    "'%20OR%201=1--",
    "a" * 3000,
    "%",
    "%zz",
    "*",
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("method", "template"),
    [
        ("GET", "/users/{}"),
        ("GET", "/users/{}/tokens"),
        ("DELETE", "/users/alice/tokens/{}"),
        ("GET", "/workspaces/{}"),
        ("GET", "/workspaces/{}/services"),
        ("GET", "/workspaces/{}/logs"),
        ("PUT", "/workspaces/{}/repository-bundle"),
        ("GET", WEB + "/services/{}/logs"),
        ("DELETE", WEB + "/services/{}/port-forward"),
        ("POST", "/workspaces/{}/start"),
        ("DELETE", "/workspaces/{}"),
    ],
)
async def test_odd_paths_are_not_found(alice: httpx.AsyncClient, method: str, template: str, odd: str) -> None:
    answer = await alice.request(method, template.format(odd))
    assert answer.status_code in (404, 405), answer.text
    assert answer.json()["error"] in {
        "user_not_found",
        "token_not_found",
        "workspace_not_found",
        "not_found",
        "method_not_allowed",
    }
    assert len(answer.content) < 1000


async def test_slashes_at_the_end_or_doubled_do_not_matter(alice: httpx.AsyncClient) -> None:
    for path in ("/users/alice/", "/users//alice", "//users/alice//"):
        assert (await alice.get(f"http://nexus.example/api/v1{path}")).status_code == 200


async def test_a_host_header_that_is_none_is_refused(alice: httpx.AsyncClient) -> None:
    answer = await alice.get("/users/alice", headers={"Host": "a b"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
