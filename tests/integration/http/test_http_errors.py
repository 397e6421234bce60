"""Every row of the contract's table of errors that these endpoints can answer, and the one envelope."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import httpx
import pytest
from litestar.exceptions import InternalServerException

import served
from nexus_core.domain.host_ports import PortRange
from nexus_core.errors import (
    Conflict,
    DatabaseBusy,
    HostPortTaken,
    InternalError,
    NexusError,
    ProviderFailed,
    StoreFailed,
    Unavailable,
    UnknownImage,
)
from nexus_core.policy import Policy
from nexus_fakes import FakeKeys
from nexus_http.problems import CODES, refusal
from served import ADMIN_TOKEN, Site, bearer

ALICE, BOB = FakeKeys.sample("alice").text, FakeKeys.sample("bob").text
CAROL = FakeKeys.sample("carol").text
WEB = "/workspaces/ws-000000000001"


@dataclass(frozen=True)
class Row:
    """A request by ``who`` to a server where alice has the running workspace ``web``, and its answer."""

    status: int
    error: str
    method: str
    path: str
    body: Any = None
    who: str = "alice"
    headers: dict[str, str] = field(default_factory=dict)
    details: Any = None


def registering(**more: Any) -> dict[str, Any]:
    return {"github_username": "carol", "github_id": 77, "ssh_pubkey": CAROL, **more}


ROWS = [
    Row(400, "invalid_request", "POST", "/workspaces", {"workspace_name": "UPPER"}),
    Row(400, "invalid_request", "GET", "/workspaces?limit=201", details={"$.limit"}),
    Row(400, "invalid_request", "GET", "/health?x=1", who="nobody", details={"$.x"}),
    Row(400, "invalid_ssh_key", "PUT", "/users/alice/ssh-key", {"ssh_pubkey": "ssh-dss AAAA"}),
    Row(400, "invalid_ssh_key", "POST", "/users/register-github", registering(ssh_pubkey="nonsense"), "admin"),
    Row(
        400, "fingerprint_mismatch", "POST", "/users/register-github", registering(ssh_pubkey_fingerprint="x"), "admin"
    ),
    Row(
        400, "fingerprint_mismatch", "PUT", "/users/alice/ssh-key", {"ssh_pubkey": CAROL, "ssh_pubkey_fingerprint": ""}
    ),
    Row(400, "unknown_provider", "POST", "/workspaces", {"workspace_name": "x", "provider": "docker"}),
    Row(400, "unknown_image", "POST", "/workspaces", {"workspace_name": "x", "image": "nothing-like-it"}),
    Row(401, "unauthorized", "GET", "/status", who="nobody"),
    Row(403, "forbidden", "POST", "/workspaces", {"workspace_name": "x", "github_username": "bob"}),
    Row(403, "forbidden", "GET", "/workspaces?owner=bob"),
    Row(403, "forbidden", "POST", "/users/register-github", registering()),
    Row(403, "forbidden", "POST", "/workspaces", {"workspace_name": "x"}, "reader", details={"scopes", "needed"}),
    Row(404, "not_found", "GET", "/no/such/route"),
    Row(404, "not_found", "GET", f"{WEB}/services/web"),
    Row(404, "service_not_found", "GET", f"{WEB}/services/web/logs"),
    Row(404, "service_not_found", "POST", f"{WEB}/services/web/restart"),
    Row(404, "service_not_found", "POST", f"{WEB}/services/web/port-forward"),
    Row(404, "service_not_found", "DELETE", f"{WEB}/services/web/port-forward"),
    Row(404, "user_not_found", "GET", "/users/nobody", who="admin"),
    Row(404, "user_not_found", "GET", "/users/bob"),
    Row(404, "user_not_found", "PUT", "/users/bob/ssh-key", {"ssh_pubkey": CAROL}),
    Row(404, "user_not_found", "POST", "/users/bob/tokens", {"label": "x"}),
    Row(404, "user_not_found", "GET", "/users/bob/tokens"),
    Row(404, "user_not_found", "DELETE", "/users/bob/tokens/tok-000000000001"),
    Row(404, "user_not_found", "POST", "/workspaces", {"workspace_name": "x", "github_username": "nobody"}, "admin"),
    Row(404, "workspace_not_found", "GET", WEB, who="bob"),
    Row(404, "workspace_not_found", "GET", f"{WEB}/status", who="bob"),
    Row(404, "workspace_not_found", "GET", f"{WEB}/services", who="bob"),
    Row(404, "workspace_not_found", "GET", f"{WEB}/logs", who="bob"),
    Row(404, "workspace_not_found", "GET", f"{WEB}/logs?follow=true", who="bob"),
    Row(404, "workspace_not_found", "GET", f"{WEB}/services/web/logs", who="bob"),
    Row(404, "workspace_not_found", "POST", f"{WEB}/services/web/restart", who="bob"),
    Row(404, "workspace_not_found", "POST", f"{WEB}/services/web/port-forward", who="bob"),
    Row(404, "workspace_not_found", "DELETE", f"{WEB}/services/web/port-forward", who="bob"),
    Row(404, "workspace_not_found", "PUT", f"{WEB}/repository-bundle", b"x", "bob"),
    Row(404, "workspace_not_found", "PATCH", f"{WEB}/status", {"status": "stopped"}, "bob"),
    Row(404, "workspace_not_found", "POST", f"{WEB}/start", who="bob"),
    Row(404, "workspace_not_found", "POST", f"{WEB}/stop", who="bob"),
    Row(404, "workspace_not_found", "DELETE", f"{WEB}?force=true", who="bob"),
    Row(404, "token_not_found", "DELETE", "/users/alice/tokens/tok-000000000099"),
    Row(404, "token_not_found", "DELETE", "/users/alice/tokens/tok-000000000001"),  # the administrator's
    Row(405, "method_not_allowed", "PUT", "/workspaces"),
    Row(405, "method_not_allowed", "DELETE", "/health", who="nobody"),
    Row(
        409, "user_already_registered", "POST", "/users/register-github", registering(github_username="ALICE"), "admin"
    ),
    Row(
        409,
        "user_already_registered",
        "POST",
        "/users/register-github",
        registering(github_id=1 + sum(b"alice")),
        "admin",
    ),
    Row(409, "ssh_key_in_use", "POST", "/users/register-github", registering(ssh_pubkey=ALICE), "admin"),
    Row(409, "ssh_key_in_use", "PUT", "/users/alice/ssh-key", {"ssh_pubkey": BOB}),
    Row(409, "workspace_already_exists", "POST", "/workspaces", {"workspace_name": "web"}, details={"workspace_id"}),
    Row(409, "invalid_status_transition", "POST", f"{WEB}/start", details={"from", "to", "allowed"}),
    Row(409, "workspace_running", "DELETE", WEB),
    Row(413, "payload_too_large", "POST", "/workspaces", "x" * 1024 * 1024),
    Row(415, "unsupported_media_type", "POST", "/workspaces", b"{}", headers={"Content-Type": "text/plain"}),
]


@pytest.fixture
async def people(site: Site) -> dict[str, httpx.AsyncClient]:
    """Everybody who asks."""
    people = {
        "nobody": await site.client(),
        "admin": await site.admin(),
        "alice": await site.user("alice"),
        "bob": await site.user("bob"),
        "reader": await site.user("erin", "read"),
    }
    await people["alice"].post("/workspaces", json={"workspace_name": "web"})
    await site.world.idle()
    return people


def check_envelope(answer: httpx.Response, status: int, error: str) -> dict[str, Any]:
    """The answer's details, after holding it against the contract."""
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), body
    assert list(body) == ["error", "message", "details", "request_id"]
    assert error in CODES[status]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"] == body["request_id"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", body["request_id"])
    assert body["message"].endswith((".", "!", "?", ")"))
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert ("Allow" in answer.headers) == (status == 405)
    assert ("Retry-After" in answer.headers) == (status == 503)
    details: dict[str, Any] = body["details"]
    return details


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{row.error}-{row.method}-{row.path[:40]}")
async def test_every_error_has_its_status_code_and_envelope(people: dict[str, httpx.AsyncClient], row: Row) -> None:
    content: dict[str, Any] = {"content" if isinstance(row.body, bytes) else "json": row.body}
    sent = {"X-Request-ID": "my-request.7", **row.headers}
    answer = await people[row.who].request(row.method, row.path, headers=sent, **content)
    details = check_envelope(answer, row.status, row.error)
    assert answer.headers["X-Request-ID"] == "my-request.7"
    if row.details is not None:
        assert set(details) == row.details


async def test_the_rows_cover_every_code_these_endpoints_have() -> None:
    elsewhere = {
        "idempotency_conflict",  # test_http_workspaces
        "invalid_service_graph",  # test_http_contents
        "port_forward_not_found",  # test_http_services
        "workspace_not_running",
        "port_in_use",
        "workspace_already_stopped",  # test_http_moves
        "internal_error",  # below
        "no_ports_available",
        "provider_unavailable",
        "database_busy",
    }
    not_here = {
        "quota_exceeded",
        "rate_limited",
        "identity_unavailable",
    }
    assert {row.error for row in ROWS} | elsewhere | not_here == {code for codes in CODES.values() for code in codes}


async def test_a_status_401_names_the_scheme_and_405_the_methods(people: dict[str, httpx.AsyncClient]) -> None:
    assert (await people["nobody"].get("/status")).headers["WWW-Authenticate"] == "Bearer"
    for path, allow in {
        "/workspaces": "GET, HEAD, POST",
        f"{WEB}/status": "GET, HEAD, PATCH",
        WEB: "DELETE, GET, HEAD",
        f"{WEB}/stop": "POST",
        "/users/register-github": "POST",
        "/health": "GET, HEAD",
    }.items():
        for method in ("PUT", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "NONE"):
            answer = await people["nobody"].request(method, path)
            check_envelope(answer, 405, "method_not_allowed")
            assert answer.headers["Allow"] == allow


async def test_ports_that_run_out_are_503() -> None:
    async with served.site(Policy(ssh_ports=PortRange(2222, 2222))) as site:
        alice = await site.user("alice")
        await alice.post("/workspaces", json={"workspace_name": "one"})
        check_envelope(await alice.post("/workspaces", json={"workspace_name": "two"}), 503, "no_ports_available")


async def test_a_provider_that_is_away_is_503(site: Site, people: dict[str, httpx.AsyncClient]) -> None:
    site.world.provider.available = False
    check_envelope(await people["alice"].post(f"{WEB}/stop"), 503, "provider_unavailable")


async def test_a_database_that_is_locked_is_503(
    site: Site, people: dict[str, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.world.store, "snapshot", failing(DatabaseBusy("The database is locked")))
    answer = await people["alice"].get(WEB)
    check_envelope(answer, 503, "database_busy")
    assert answer.headers["Retry-After"] == "2"


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


class Undocumented(Conflict):
    """An error whose code is not in the contract."""

    code = "undocumented"


class LaterAgain(Unavailable):
    """The same, of another branch."""


class Rootless(NexusError):
    """An error that hangs on no branch."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("boom at /srv/nexus/secret.py"), ({}, "a fault of its own")),
        (InternalServerException("boom"), ({}, "a fault of its own")),
        (KeyError("x"), ({}, "a fault of its own")),
        (InternalError("It broke at /srv/x"), ({}, "a fault of its own")),
        (Undocumented("No"), ({}, "a fault of its own")),
        (LaterAgain("No"), ({}, "a fault of its own")),
        (Rootless("No"), ({}, "a fault of its own")),
        (ProviderFailed("LXD refused", why="See /var/lib/lxd/logs."), ({"cause": "provider_failed"}, "LXD refused.")),
        (StoreFailed("The file cannot be read"), ({"cause": "database_failed"}, "The file cannot be read.")),
        (HostPortTaken("Port 2222 is taken"), ({"cause": "host_port_taken"}, "Port 2222 is taken.")),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_faults_are_500_and_tell_nothing_of_the_inside(
    site: Site,
    people: dict[str, httpx.AsyncClient],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: tuple[dict[str, str], str],
) -> None:
    details, said = expected
    monkeypatch.setattr(site.world.nexus, "show_workspace", failing(error))
    answer = await people["alice"].get(WEB)
    assert check_envelope(answer, 500, "internal_error") == details
    assert said in answer.json()["message"]
    for inside in ("Traceback", ".py", "/srv", "/var", "boom", "RuntimeError"):
        assert inside not in answer.text


async def test_secrets_are_not_repeated_in_errors(people: dict[str, httpx.AsyncClient]) -> None:
    answers = [
        await people["admin"].get(f"/users/{ADMIN_TOKEN}"),
        await people["admin"].get(f"/{ADMIN_TOKEN}"),
        await people["admin"].get(f"/workspaces?{ADMIN_TOKEN}=1"),
        await people["admin"].post("/workspaces", json={ADMIN_TOKEN: 1, "workspace_name": "x"}),
        await people["admin"].post("/users/alice/tokens", json={"label": "x", "scopes": [ADMIN_TOKEN]}),
        await people["admin"].post("/workspaces", json={"workspace_name": "x", "github_username": ADMIN_TOKEN}),
        await people["admin"].put("/users/alice/ssh-key", json={"ssh_pubkey": "-----BEGIN OPENSSH PRIVATE KEY-----x"}),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500
        assert ADMIN_TOKEN not in answer.text
        assert "PRIVATE KEY" not in answer.text


async def test_an_error_of_the_core_that_names_an_image_is_answered_as_it_is(site: Site) -> None:
    answer = refusal(UnknownImage("There is no image x", details={"$.image": "unknown"}), "req-1")
    assert (answer.status, answer.headers) == (400, {})
    assert (answer.problem.error, answer.problem.details) == ("unknown_image", {"$.image": "unknown"})
    assert await site.client(bearer("x"))
