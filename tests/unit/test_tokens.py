"""API tokens and what they let in."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

import pytest

from nexus_core.domain.token import ApiToken, digest
from nexus_core.errors import (
    DatabaseBusy,
    Forbidden,
    InvalidRequest,
    NexusError,
    StoreFailed,
    TokenNotFound,
    Unauthorized,
    UserNotFound,
)
from worlds import World, nothing


async def test_a_token_speaks_for_its_user_until_it_is_revoked(world: World) -> None:
    alice = world.register()
    token, secret = world.nexus.issue_token(alice, "alice", label="laptop")
    caller = world.nexus.authenticate(secret)
    assert (caller.user, caller.token_id, caller.is_admin) == (alice.user, token.id, False)
    world.nexus.revoke_token(alice, "alice", token.id)
    with pytest.raises(Unauthorized):
        world.nexus.authenticate(secret)


async def test_a_token_expires(world: World) -> None:
    alice = world.register()
    expiry = world.clock.now() + timedelta(seconds=10)
    _, secret = world.nexus.issue_token(alice, "alice", label="short", expires_at=expiry, scopes=["read"])
    assert world.nexus.authenticate(secret).scopes == {"read"}
    await world.clock.advance(10)
    with pytest.raises(Unauthorized):
        world.nexus.authenticate(secret)


@pytest.mark.parametrize("secret", ["", "nxs_", "nxs_unknown", "ghp_of_another_kind"])
async def test_unknown_secrets_are_refused(world: World, secret: str) -> None:
    with pytest.raises(Unauthorized):
        world.nexus.authenticate(secret)


async def test_last_use_is_noted_once_a_minute(world: World) -> None:
    alice = world.register()
    _, secret = world.nexus.issue_token(alice, "alice", label="laptop")
    first = world.clock.now()
    world.nexus.authenticate(secret)
    await world.clock.advance(59)
    world.nexus.authenticate(secret)
    assert world.nexus.list_tokens(alice, "alice")[0].last_used_at == first
    await world.clock.advance(1)
    world.nexus.authenticate(secret)
    assert world.nexus.list_tokens(alice, "alice")[0].last_used_at == first + timedelta(seconds=60)


async def test_a_clock_that_was_ahead_does_not_stop_the_noting(world: World) -> None:
    alice = world.register()
    _, secret = world.nexus.issue_token(alice, "alice", label="laptop")
    world.clock.jump(86_400 * 365)
    world.nexus.authenticate(secret)
    world.clock.jump(-86_400 * 365)
    world.nexus.authenticate(secret)
    assert world.nexus.list_tokens(alice, "alice")[0].last_used_at == world.clock.now()


@pytest.mark.parametrize("away", [DatabaseBusy("locked"), StoreFailed("moved away")], ids=lambda error: error.code)
async def test_a_use_that_cannot_be_noted_refuses_nobody(
    world: World, away: NexusError, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = world.register()
    _, secret = world.nexus.issue_token(alice, "alice", label="laptop")
    waited: list[bool] = []

    def failing(*, wait: bool = True) -> NoReturn:
        waited.append(wait)
        raise away

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "transaction", failing)
        assert world.nexus.authenticate(secret).user == alice.user
    assert waited == [False]
    assert world.nexus.list_tokens(alice, "alice")[0].last_used_at is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": ""},
        {"label": " "},
        {"label": "x" * 101},
        {"label": "a\nb"},
        {"scopes": []},
        {"scopes": ["read", "read"]},
        {"scopes": ["admin"]},
    ],
)
async def test_what_is_wrong_is_refused(world: World, wrong: dict[str, object]) -> None:
    alice = world.register()
    fields: dict[str, object] = {"label": "laptop", **wrong}
    with pytest.raises(InvalidRequest):
        world.nexus.issue_token(alice, "alice", **fields)  # type: ignore[arg-type]  # on purpose
    assert not world.nexus.list_tokens(alice, "alice")


async def test_an_expiry_in_the_past_is_refused(world: World) -> None:
    alice = world.register()
    with pytest.raises(InvalidRequest):
        world.nexus.issue_token(alice, "alice", label="late", expires_at=world.clock.now())


async def test_tokens_of_others_do_not_exist(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    token, _ = world.nexus.issue_token(bob, "bob", label="laptop")
    with pytest.raises(UserNotFound):
        world.nexus.issue_token(alice, "bob", label="mine")
    with pytest.raises(UserNotFound):
        world.nexus.list_tokens(alice, "bob")
    with pytest.raises(TokenNotFound):
        world.nexus.revoke_token(alice, "alice", token.id)


async def test_the_administrators_secret_replaces_the_one_before(world: World) -> None:
    old, new = world.ids.secret(), world.ids.secret()
    world.nexus.admit_administrator(old)
    world.nexus.admit_administrator(old)
    assert world.nexus.authenticate(old).is_admin
    world.nexus.admit_administrator(new)
    assert world.nexus.authenticate(new).is_admin
    with pytest.raises(Unauthorized):
        world.nexus.authenticate(old)


async def test_another_administrators_token_stays(world: World) -> None:
    """Only the bootstrap token gives way to the file's; the record here stands for one made otherwise."""
    secret = world.ids.secret()
    with world.store.transaction() as records:
        records.tokens.add(
            ApiToken("tok-000000000099", None, "ci", digest(secret), ("read", "write"), world.clock.now())
        )
    world.nexus.admit_administrator(world.ids.secret())
    assert world.nexus.authenticate(secret).is_admin


async def test_a_token_without_its_user_lets_nobody_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all the administrator, whom the absence of a user stands for."""
    alice = world.register()
    _, secret = world.nexus.issue_token(alice, "alice", label="laptop")
    with world.store.snapshot() as records:
        users = type(records.users)
    monkeypatch.setattr(users, "get", nothing)
    with pytest.raises(Unauthorized):
        world.nexus.authenticate(secret)


async def test_a_token_gives_out_no_more_than_it_may_do_itself(world: World) -> None:
    alice = world.register()
    _, secret = world.nexus.issue_token(alice, "alice", label="reader", scopes=["read"])
    reader = world.nexus.authenticate(secret)
    with pytest.raises(Forbidden):
        world.nexus.issue_token(reader, "alice", label="writer", scopes=["read", "write"])
