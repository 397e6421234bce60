"""Users and tokens over HTTP, field by field."""

from __future__ import annotations

import httpx
import pytest

from nexus_core.errors import ProviderFailed
from nexus_fakes import FakeKeys
from served import Site, bearer

KEY = FakeKeys.sample("alice")
AT = "2026-01-17T10:30:00Z"
ALICE = {
    "user_id": "user-000000000001",
    "github_username": "Alice",
    "github_id": 123456789,
    "email": "alice@example.com",
    "ssh_pubkey_fingerprint": KEY.fingerprint,
    "registered_at": AT,
    "updated_at": AT,
    "workspaces": [],
}
REGISTRATION = {
    "github_username": "Alice",
    "github_id": 123456789,
    "email": "alice@example.com",
    "ssh_pubkey": f"{KEY.text} alice@laptop",
    "ssh_pubkey_fingerprint": KEY.fingerprint,
}


async def test_a_registered_user_is_answered_and_shown(admin: httpx.AsyncClient) -> None:
    registered = await admin.post("/users/register-github", json=REGISTRATION)
    assert (registered.status_code, registered.json()) == (201, ALICE)
    shown = await admin.get("/users/aLICE")
    assert (shown.status_code, shown.json()) == (200, ALICE)


async def test_email_and_fingerprint_are_optional(admin: httpx.AsyncClient) -> None:
    body = {**REGISTRATION, "email": None, "ssh_pubkey_fingerprint": None}
    assert (await admin.post("/users/register-github", json=body)).json()["email"] is None
    other = {"github_username": "bob", "github_id": 2, "ssh_pubkey": FakeKeys.sample("bob").text}
    assert (await admin.post("/users/register-github", json=other)).status_code == 201


async def test_a_user_shows_the_workspaces_that_are_not_deleted(site: Site, alice: httpx.AsyncClient) -> None:
    ids = []
    for name in ("one", "two"):
        ids.append((await alice.post("/workspaces", json={"workspace_name": name})).json()["workspace_id"])
        await site.world.idle()
    assert (await alice.get("/users/alice")).json()["workspaces"] == ids[::-1]
    await alice.delete(f"/workspaces/{ids[0]}?force=true")
    assert (await alice.get("/users/alice")).json()["workspaces"] == ids[1:]


async def test_a_new_key_opens_what_runs_before_the_answer(site: Site, alice: httpx.AsyncClient) -> None:
    created = (await alice.post("/workspaces", json={"workspace_name": "web"})).json()
    await site.world.idle()
    new = FakeKeys.sample("new")
    await site.world.clock.advance(60)
    answer = await alice.put("/users/alice/ssh-key", json={"ssh_pubkey": new.text})
    assert answer.status_code == 200
    assert answer.json()["ssh_pubkey_fingerprint"] == new.fingerprint
    assert answer.json()["updated_at"] == "2026-01-17T10:31:00Z"
    assert answer.json()["workspaces"] == [created["workspace_id"]]
    container = "nexus-" + created["workspace_id"].removeprefix("ws-")
    assert site.world.provider.authorized_key(container) == new


async def test_where_the_provider_is_away_the_key_stays(site: Site, alice: httpx.AsyncClient) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    before = (await alice.get("/users/alice")).json()
    site.world.provider.available = False
    answer = await alice.put("/users/alice/ssh-key", json={"ssh_pubkey": FakeKeys.sample("new").text})
    assert (answer.status_code, answer.json()["error"]) == (503, "provider_unavailable")
    assert answer.headers["Retry-After"] == "10"
    assert (await alice.get("/users/alice")).json() == before


async def test_a_container_that_refuses_the_key_is_an_internal_error_with_its_cause(
    site: Site, alice: httpx.AsyncClient
) -> None:
    await alice.post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    site.world.faults.fail("authorize", ProviderFailed("LXD said no", why="It looked at /var/lib/lxd/x."))
    answer = await alice.put("/users/alice/ssh-key", json={"ssh_pubkey": FakeKeys.sample("new").text})
    body = answer.json()
    assert (answer.status_code, body["error"], body["details"]) == (500, "internal_error", {"cause": "provider_failed"})
    assert "LXD said no" in body["message"]
    assert "/var" not in body["message"]


async def test_a_token_is_shown_once_lists_without_its_secret_and_is_revoked(
    site: Site, alice: httpx.AsyncClient
) -> None:
    asked = {"label": "laptop", "expires_at": "2026-02-01T01:00:00.9+01:00", "scopes": ["read"]}
    issued = await alice.post("/users/alice/tokens", json=asked)
    token = issued.json()
    secret = token.pop("token")
    assert issued.status_code == 201
    assert issued.headers["Cache-Control"] == "no-store"
    assert token == {
        "token_id": "tok-000000000003",
        "label": "laptop",
        "scopes": ["read"],
        "created_at": AT,
        "expires_at": "2026-02-01T00:00:00Z",
        "last_used_at": None,
    }
    reader = await site.client(bearer(secret))
    assert (await reader.get("/users/alice")).status_code == 200
    listed = (await alice.get("/users/alice/tokens")).json()["tokens"]
    assert listed[0] == {**token, "last_used_at": AT}
    assert secret not in (await alice.get("/users/alice/tokens")).text
    revoked = await alice.delete(f"/users/alice/tokens/{token['token_id']}")
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert (await reader.get("/users/alice")).status_code == 401
    assert (await alice.delete(f"/users/alice/tokens/{token['token_id']}")).json()["error"] == "token_not_found"


async def test_a_token_has_both_scopes_and_no_end_unless_asked(alice: httpx.AsyncClient) -> None:
    token = (await alice.post("/users/alice/tokens", json={"label": "x"})).json()
    assert (token["scopes"], token["expires_at"]) == (["read", "write"], None)


async def test_an_expired_token_is_refused(site: Site, alice: httpx.AsyncClient) -> None:
    asked = {"label": "short", "expires_at": "2026-01-17T10:31:00Z"}
    short = await site.client(bearer((await alice.post("/users/alice/tokens", json=asked)).json()["token"]))
    assert (await short.get("/users/alice")).status_code == 200
    await site.world.clock.advance(60)
    assert (await short.get("/users/alice")).status_code == 401


@pytest.mark.parametrize(
    "expiry",
    [
        "2026-01-17T10:30:00Z",
        "2020-01-01T00:00:00Z",
        "2027-01-01T00:00:00",
        "2027-01-01",
        "tomorrow",
        1800000000,
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
async def test_an_expiry_is_a_moment_in_the_future_with_its_zone(alice: httpx.AsyncClient, expiry: object) -> None:
    answer = await alice.post("/users/alice/tokens", json={"label": "x", "expires_at": expiry})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["$.expires_at"])


@pytest.mark.parametrize("scopes", [[], ["read", "read"], ["admin"], "read", None])
async def test_scopes_are_read_and_write_once_each(alice: httpx.AsyncClient, scopes: object) -> None:
    answer = await alice.post("/users/alice/tokens", json={"label": "x", "scopes": scopes})
    assert answer.status_code == 400
    assert [path.startswith("$.scopes") for path in answer.json()["details"]] == [True]


async def test_a_token_cannot_give_out_more_than_it_may_do(site: Site) -> None:
    writer = await site.user("alice", "write")
    assert (await writer.post("/users/alice/tokens", json={"label": "x"})).json()["error"] == "forbidden"
    assert (await writer.post("/users/alice/tokens", json={"label": "x", "scopes": ["write"]})).status_code == 201
