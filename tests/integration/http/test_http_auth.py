"""Who is asking, and what comes first."""

from __future__ import annotations

import httpx
import pytest

from served import ADMIN_TOKEN, Site, bearer

WEB = "/workspaces/ws-000000000001"
PROTECTED = [
    ("POST", "/users/register-github"),
    ("GET", "/users/alice"),
    ("PUT", "/users/alice/ssh-key"),
    ("POST", "/users/alice/tokens"),
    ("GET", "/users/alice/tokens"),
    ("DELETE", "/users/alice/tokens/tok-000000000001"),
    ("POST", "/workspaces"),
    ("GET", "/workspaces"),
    ("GET", WEB),
    ("GET", f"{WEB}/status"),
    ("GET", f"{WEB}/services"),
    ("PATCH", f"{WEB}/status"),
    ("POST", f"{WEB}/start"),
    ("POST", f"{WEB}/stop"),
    ("DELETE", WEB),
    ("POST", f"{WEB}/services/api/port-forward"),
    ("DELETE", f"{WEB}/services/api/port-forward"),
    ("POST", f"{WEB}/services/api/restart"),
    ("GET", f"{WEB}/services/api/logs"),
    ("GET", f"{WEB}/logs"),
    ("PUT", f"{WEB}/repository-bundle"),
    ("GET", "/status"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_token_is_asked_for_before_anything_else(site: Site, method: str, path: str) -> None:
    nobody = await site.client()
    answer = await nobody.request(method, f"{path}?unknown=1", content=b"{not json", headers={"Content-Type": "x"})
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_scopes_come_next(site: Site, method: str, path: str) -> None:
    scope = "write" if method == "GET" else "read"
    client = await site.user("alice", scope)
    answer = await client.request(method, f"{path}?unknown=1", content=b"{not json")
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert answer.json()["details"] == {"scopes": [scope], "needed": {"write": "read", "read": "write"}[scope]}


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer nxs_unknown",
        b"Bearer ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        b"Bearer " + ADMIN_TOKEN.encode() + b" x",
        b"Bearer " + ADMIN_TOKEN.encode() + b"\xe9",
        b"Bearer nxs_" + b"a" * 5000,
        b"Basic " + ADMIN_TOKEN.encode(),
        ADMIN_TOKEN.encode(),
        b"Token " + ADMIN_TOKEN.encode(),
    ],
)
async def test_what_is_no_valid_token_is_refused(site: Site, header: bytes) -> None:
    client = await site.client()
    answer = await client.get("/status", headers=[(b"Authorization", header)])
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_two_tokens_are_none(site: Site) -> None:
    client = await site.client()
    headers = [("Authorization", f"Bearer {ADMIN_TOKEN}"), ("Authorization", f"Bearer {ADMIN_TOKEN}")]
    assert (await client.get("/status", headers=headers)).status_code == 401


@pytest.mark.parametrize("header", [f"bearer {ADMIN_TOKEN}", f"BEARER   {ADMIN_TOKEN}  "])
async def test_the_scheme_is_in_any_case(site: Site, header: str) -> None:
    client = await site.client({"Authorization": header})
    assert (await client.get("/status")).status_code == 200


async def test_scopes_read_and_write(site: Site) -> None:
    reader = await site.user("alice", "read")
    assert (await reader.get("/users/alice")).status_code == 200
    assert (await reader.head("/users/alice")).status_code == 200
    writer = await site.user("bob", "write")
    assert (await writer.get("/users/bob")).status_code == 403
    assert (await writer.head("/users/bob")).status_code == 403
    assert (await writer.post("/workspaces", json={"workspace_name": "web"})).status_code == 202


async def test_routes_that_are_not_there_need_no_token(site: Site) -> None:
    nobody = await site.client()
    assert (await nobody.get("/nope")).status_code == 404
    assert (await nobody.put("/workspaces")).status_code == 405
    for address in ("http://nexus.example/", "http://nexus.example/api", "http://nexus.example/api/v2/health"):
        answer = await nobody.get(address)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_existence_is_not_disclosed(site: Site, alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    hidden, absent = await bob.get(WEB), await bob.get("/workspaces/ws-zzzzzzzzzzzz")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["message"].replace("000000000001", "zzzzzzzzzzzz") == absent.json()["message"]
    there, nowhere = await bob.get("/users/alice"), await bob.get("/users/nobody")
    assert there.json()["message"].replace("alice", "nobody") == nowhere.json()["message"]


async def test_the_token_of_one_user_does_nothing_to_another(
    site: Site, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    token_id = (await alice.get("/users/alice/tokens")).json()["tokens"][0]["token_id"]
    assert (await bob.delete(f"/users/bob/tokens/{token_id}")).status_code == 404
    assert (await alice.get("/users/alice")).status_code == 200


async def test_a_revoked_token_is_refused_at_once(site: Site, alice: httpx.AsyncClient) -> None:
    issued = (await alice.post("/users/alice/tokens", json={"label": "x"})).json()
    other = await site.client(bearer(issued["token"]))
    assert (await other.get("/status")).status_code == 200
    await alice.delete(f"/users/alice/tokens/{issued['token_id']}")
    assert (await other.get("/status")).status_code == 401
