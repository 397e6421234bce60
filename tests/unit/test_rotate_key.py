"""Exchanging a user's key."""

from __future__ import annotations

import asyncio

import pytest

from nexus_core.domain.user import PublicKey
from nexus_core.errors import (
    FingerprintMismatch,
    ProviderFailed,
    ProviderUnavailable,
    SshKeyInUse,
    UserNotFound,
)
from worlds import ADMIN, World, nothing


def new_key(world: World) -> PublicKey:
    return world.keys.sample("new")


def admitted(world: World, workspace_id: str) -> PublicKey | None:
    return world.provider.authorized_key(world.show(workspace_id).workspace.container_id)


async def test_every_running_workspace_admits_the_new_key_and_no_other(world: World) -> None:
    alice = world.register()
    one, two = await world.running(alice, "one"), await world.running(alice, "two")
    await world.nexus.stop_workspace(alice, two.id)
    user = await world.nexus.rotate_key(alice, "alice", new_key(world).text, new_key(world).fingerprint)
    assert user.public_key == new_key(world)
    assert admitted(world, one.id) == new_key(world)
    assert admitted(world, two.id) == world.keys.sample("alice")
    world.nexus.start_workspace(alice, two.id)
    await world.idle()
    assert admitted(world, two.id) == new_key(world)


async def test_the_same_key_again_changes_nothing(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    before = world.user(alice)
    after = await world.nexus.rotate_key(ADMIN, "alice", world.keys.sample("alice").text, None)
    assert after == before
    assert world.faults.count("authorize") == 0


async def test_what_is_wrong_is_refused(world: World) -> None:
    alice, _ = world.register("alice"), world.register("bob")
    with pytest.raises(SshKeyInUse):
        await world.nexus.rotate_key(alice, "alice", world.keys.sample("bob").text, None)
    with pytest.raises(FingerprintMismatch):
        await world.nexus.rotate_key(alice, "alice", new_key(world).text, "SHA256:other")
    with pytest.raises(UserNotFound):
        await world.nexus.rotate_key(alice, "bob", new_key(world).text, None)


async def test_nothing_is_changed_while_the_provider_is_away(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    world.provider.available = False
    with pytest.raises(ProviderUnavailable):
        await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    assert world.user(alice).public_key == world.keys.sample("alice")


async def test_a_provider_that_goes_away_halfway_leaves_the_old_key_in_force(world: World) -> None:
    alice = world.register()
    one, two = await world.running(alice, "one"), await world.running(alice, "two")
    world.faults.fail("authorize", ProviderUnavailable("LXD went away"), skip=1, times=1)
    with pytest.raises(ProviderUnavailable):
        await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    assert world.user(alice).public_key == world.keys.sample("alice")
    await world.clock.advance(5)
    await world.idle()
    assert [admitted(world, one.id), admitted(world, two.id)] == [world.keys.sample("alice")] * 2


async def test_a_container_that_refuses_takes_the_rotation_back(world: World) -> None:
    alice = world.register()
    one, two = await world.running(alice, "one"), await world.running(alice, "two")
    world.faults.fail("authorize", ProviderFailed("Read-only disk"), skip=1)
    with pytest.raises(ProviderFailed, match="Read-only disk"):
        await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    await world.idle()
    assert world.user(alice).public_key == world.keys.sample("alice")
    assert [admitted(world, one.id), admitted(world, two.id)] == [world.keys.sample("alice")] * 2


async def test_a_container_that_was_removed_by_hand_stops_no_rotation(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.provider.delete(workspace.container_id)
    user = await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    assert user.public_key == new_key(world)


async def test_a_workspace_that_comes_up_meanwhile_ends_with_the_new_key(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("handshake")
    workspace = await world.create(alice)
    await stuck.entered.wait()
    await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    assert admitted(world, workspace.id) == world.keys.sample("alice")
    stuck.release()
    await world.idle()
    assert admitted(world, workspace.id) == new_key(world)
    assert world.steps(workspace.id)["install_key"] == "done"


async def test_two_rotations_at_once_agree_in_the_end(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("authorize")
    first = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", new_key(world).text, None))
    await stuck.entered.wait()
    newer = world.keys.sample("newer")
    second = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", newer.text, None))
    await world.clock.settle()
    stuck.release()
    await asyncio.gather(first, second)
    assert admitted(world, workspace.id) == world.user(alice).public_key == newer


async def test_rotations_that_fail_one_after_the_other_leave_the_first_key(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("authorize")
    world.faults.fail("authorize", ProviderFailed("Read-only disk"))
    first = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", new_key(world).text, None))
    await stuck.entered.wait()
    world.faults.fail("authorize", ProviderFailed("Read-only disk"))
    second = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", world.keys.sample("newer").text, None))
    await world.clock.settle()
    stuck.release()
    results = await asyncio.gather(first, second, return_exceptions=True)
    await world.idle()
    assert [type(result) for result in results] == [ProviderFailed, ProviderFailed]
    assert admitted(world, workspace.id) == world.user(alice).public_key == world.keys.sample("alice")


async def test_a_user_that_vanished_meanwhile_is_not_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    with world.store.snapshot() as records:
        users = type(records.users)
    monkeypatch.setattr(users, "get", nothing)
    with pytest.raises(UserNotFound):
        await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)


async def test_a_rotation_cut_off_after_it_took_effect_is_really_taken_back(world: World) -> None:
    """Found by the machine that walks the whole API: the record said the old key, the container had the new one."""
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("authorize", after_effect=True)
    rotating = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", new_key(world).text, None))
    await stuck.entered.wait()
    await world.restart()
    with pytest.raises(ProviderUnavailable):
        await rotating
    await world.idle()
    assert admitted(world, workspace.id) == world.user(alice).public_key == world.keys.sample("alice")


async def test_a_start_whose_container_vanishes_before_it_gets_the_new_key_fails(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    await world.nexus.rotate_key(alice, "alice", new_key(world).text, None)
    stuck = world.faults.hang("publish", after_effect=True)
    world.nexus.start_workspace(alice, workspace.id)
    await stuck.entered.wait()
    world.provider.vanish(workspace.container_id)
    stuck.release()
    await world.idle()
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert (failed.error.code, failed.error.step) == ("instance_missing", "start_instance")
