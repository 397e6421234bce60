"""Registering people, and who may see whom."""

from __future__ import annotations

import pytest

from nexus_core import Registration
from nexus_core.errors import (
    FingerprintMismatch,
    Forbidden,
    InvalidRequest,
    InvalidSshKey,
    SshKeyInUse,
    UserAlreadyRegistered,
    UserNotFound,
)
from worlds import ADMIN, World


def asks(world: World, name: str = "alice", github_id: int = 1, **more: str) -> Registration:
    return Registration(github_username=name, github_id=github_id, ssh_pubkey=world.keys.sample(name).text, **more)


async def test_the_administrator_registers_anyone(world: World) -> None:
    user = world.nexus.register_user(ADMIN, asks(world, email="alice@example.com"))
    assert user.name == "alice"
    assert user.public_key == world.keys.sample("alice")
    assert world.nexus.show_user(ADMIN, "ALICE") == (user, ())


async def test_a_user_registers_no_one_else(world: World) -> None:
    alice = world.register("alice")
    with pytest.raises(Forbidden):
        world.nexus.register_user(alice, asks(world, "bob", 2))
    with pytest.raises(UserAlreadyRegistered):
        world.nexus.register_user(alice, asks(world, "Alice"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"github_username": "-alice"}, InvalidRequest),
        ({"github_id": 0}, InvalidRequest),
        ({"email": "not an address"}, InvalidRequest),
        ({"ssh_pubkey": "ssh-ed25519 nonsense"}, InvalidSshKey),
        ({"ssh_pubkey_fingerprint": "SHA256:other"}, FingerprintMismatch),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_stored(
    world: World, changes: dict[str, str], error: type[Exception]
) -> None:
    fields = {"github_username": "alice", "github_id": 1, "ssh_pubkey": world.keys.sample().text}
    with pytest.raises(error):
        world.nexus.register_user(ADMIN, Registration(**{**fields, **changes}))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UserNotFound):
        world.nexus.show_user(ADMIN, "alice")


async def test_names_and_keys_are_unique(world: World) -> None:
    world.nexus.register_user(ADMIN, asks(world))
    with pytest.raises(UserAlreadyRegistered):
        world.nexus.register_user(ADMIN, asks(world, "ALICE", 2))
    with pytest.raises(SshKeyInUse):
        world.nexus.register_user(
            ADMIN, Registration(github_username="bob", github_id=2, ssh_pubkey=world.keys.sample("alice").text)
        )


async def test_another_user_does_not_exist(world: World) -> None:
    alice, _ = world.register("alice"), world.register("bob")
    with pytest.raises(UserNotFound):
        world.nexus.show_user(alice, "bob")


async def test_a_matching_fingerprint_is_taken(world: World) -> None:
    fingerprint = world.keys.sample("alice").fingerprint
    user = world.nexus.register_user(ADMIN, asks(world, ssh_pubkey_fingerprint=fingerprint))
    assert user.public_key.fingerprint == fingerprint
