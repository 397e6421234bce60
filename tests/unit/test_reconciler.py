"""The reconciler: the truth, and nothing but what is ours."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from nexus_core import Policy
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import DatabaseBusy, ProviderFailed, ProviderUnavailable, PublishFailed
from nexus_core.ports.port_publisher import Target
from worlds import World

ROUND = 45.0
"""Longer than a round with its jitter and the heartbeat it waits for."""


async def test_a_container_that_stopped_by_itself_is_shown_stopped(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.halt(workspace.container_id)
    await world.clock.advance(ROUND)
    shown = world.show(workspace.id).workspace
    assert shown.status is Status.STOPPED
    assert "by itself" in shown.notes[0]
    assert world.publisher.target(2222) is None
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_a_container_that_vanished_is_shown_as_an_error(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.vanish(workspace.container_id)
    await world.clock.advance(ROUND)
    shown = world.show(workspace.id).workspace
    assert shown.error is not None
    assert (shown.status, shown.error.code) == (Status.ERROR, "instance_missing")
    await world.nexus.delete_workspace(alice, workspace.id)
    assert world.leased() == frozenset()


async def test_a_check_that_failed_calls_nothing_dead(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.available = False
    await world.clock.advance(10 * ROUND)
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.nexus.show_server.health().status == "degraded"
    heartbeat = world.nexus.reconciler.heartbeat
    assert heartbeat.last_seen is not None
    assert world.clock.now() - heartbeat.last_seen > timedelta(seconds=ROUND)
    world.provider.available = True
    await world.clock.advance(ROUND)
    assert world.nexus.show_server.health().status == "ok"


async def test_a_list_that_is_older_than_a_start_calls_nothing_dead(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stale = [replace(one, name="another") for one in await world.provider.instances()]

    async def listed() -> list[object]:
        return list(stale)

    world.provider.instances = listed  # type: ignore[assignment,method-assign]  # an answer from a moment ago
    await world.nexus.reconciler.reconcile()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_nobody_interferes_with_work_under_way(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("observe")
    world.provider.halt(workspace.container_id)
    round_ = asyncio.ensure_future(world.nexus.reconciler.reconcile())
    await stuck.entered.wait()
    await world.nexus.stop_workspace(alice, workspace.id)
    stuck.release()
    await round_
    assert world.show(workspace.id).workspace.notes == ()


async def test_ports_swept_away_are_published_again(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    await world.publisher.withdraw(2222)
    await world.clock.advance(ROUND)
    assert world.publisher.target(2222) is not None


async def test_ports_of_work_under_way_are_left_alone(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.publisher.withdraw(2222)
    stuck = world.faults.hang("published")
    round_ = asyncio.ensure_future(world.nexus.reconciler.reconcile())
    await stuck.entered.wait()
    await world.nexus.stop_workspace(alice, workspace.id)
    stuck.release()
    await round_
    assert world.publisher.target(2222) is None


async def test_a_start_restores_what_a_reboot_swept_away_and_withdraws_the_rest(world: World) -> None:
    alice = world.register()
    await world.running(alice, "one")
    stopped = await world.running(alice, "two")
    await world.nexus.stop_workspace(alice, stopped.id)
    await world.publisher.restore({2224: Target("10.0.0.9", 22)})
    await world.restart()
    assert set(await world.publisher.published()) == {2222}


async def test_a_restart_while_the_provider_is_away_leaves_ports_as_they_are(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    world.provider.available = False
    await world.restart()
    assert set(await world.publisher.published()) == {2222}


async def test_a_restart_without_the_kernels_leave_still_comes_up(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.faults.fail("restore", PublishFailed("No permission"))
    await world.restart()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_orphans_are_removed_after_a_grace(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    with world.store.transaction() as records:
        latest = records.workspaces.get(workspace.id)
        assert latest is not None
        records.workspaces.update(replace(latest, status=Status.DELETED, deleted_at=world.clock.now()))
    await world.clock.advance(ROUND)
    assert len(await world.provider.instances()) == 1
    await world.clock.advance(60 + ROUND)
    assert await world.provider.instances() == []


async def test_old_things_are_forgotten(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.delete_workspace(alice, workspace.id, force=True)
    world.nexus.issue_token(alice, "alice", label="old", expires_at=world.clock.now() + timedelta(days=1))
    await world.clock.advance(60)
    assert world.nexus.list_workspaces(alice, status=Status.DELETED, limit=9, offset=0)[1] == 1
    world.clock.jump(timedelta(days=32).total_seconds())
    await world.restart()  # a server that has just begun knows of no jump
    await world.clock.advance(ROUND)
    assert world.nexus.list_workspaces(alice, status=Status.DELETED, limit=9, offset=0)[1] == 0
    assert world.nexus.list_tokens(alice, "alice") == []
    with world.store.snapshot() as records:
        assert records.events.after(0) == []


@pytest.mark.parametrize("fault", [ProviderFailed("Bad answer"), ProviderUnavailable("Away"), ZeroDivisionError()])
async def test_a_round_that_fails_is_not_the_last(world: World, fault: Exception) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.faults.fail("instances", fault)
    await world.clock.advance(ROUND)
    world.provider.halt(workspace.container_id)
    await world.clock.advance(ROUND)
    assert world.show(workspace.id).workspace.status is Status.STOPPED


async def test_health_tells_of_a_database_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise DatabaseBusy("The disk is full")

    monkeypatch.setattr(world.store, "check_writable", full)
    assert world.nexus.show_server.health().status == "unavailable"


async def test_a_workspace_without_a_port_has_none_to_withdraw(world: World) -> None:
    """No such workspace is made yet: this is what the reconciler does with one."""
    alice = world.register()
    workspace = await world.running(alice)
    with world.store.transaction() as records:
        records.workspaces.update(replace(workspace, ssh_port=None))
    await world.publisher.restore({})
    world.provider.halt(workspace.container_id)
    await world.nexus.reconciler.reconcile()
    assert world.show(workspace.id).workspace.status is Status.STOPPED
    assert world.faults.count("withdraw") == 0


async def test_a_clock_that_jumps_makes_nothing_too_old_to_keep() -> None:
    async with World(policy=Policy(heartbeat_interval=3600)) as world:
        alice = world.register()
        workspace = await world.running(alice)
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
        world.clock.jump(timedelta(days=400).total_seconds())
        await world.clock.advance(timedelta(hours=23).total_seconds())
        with world.store.snapshot() as records:
            assert records.workspaces.get(workspace.id) is not None
        await world.clock.advance(timedelta(hours=3).total_seconds())
        with world.store.snapshot() as records:
            assert records.workspaces.get(workspace.id) is None
