"""Starting, stopping and deleting, also while something else is under way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from nexus_core.domain.lifecycle import Status
from nexus_core.errors import (
    InstanceMissing,
    InvalidStatusTransition,
    ProviderFailed,
    ProviderUnavailable,
    WorkspaceAlreadyStopped,
    WorkspaceNotFound,
    WorkspaceRunning,
)
from worlds import World


async def test_stop_closes_the_port_and_start_opens_the_same(world: World) -> None:
    alice = world.register()
    before = await world.running(alice)
    assert before.ssh_port is not None
    stopped = await world.nexus.stop_workspace(alice, before.id)
    assert (stopped.status, stopped.stopped_at) == (Status.STOPPED, world.clock.now())
    assert world.publisher.target(before.ssh_port) is None
    assert world.leased() == {before.ssh_port}
    assert world.nexus.start_workspace(alice, before.id).status is Status.STARTING
    await world.idle()
    after = world.show(before.id).workspace
    assert (after.status, after.ssh_port, after.host_key) == (Status.RUNNING, before.ssh_port, before.host_key)
    assert world.faults.count("create") == 1


async def test_moves_that_make_no_sense_are_refused(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    workspace = await world.running(alice)
    with pytest.raises(InvalidStatusTransition) as refused:
        world.nexus.start_workspace(alice, workspace.id)
    assert refused.value.details == {"from": "running", "to": "running", "allowed": ["stopped", "deleted"]}
    with pytest.raises(WorkspaceRunning):
        await world.nexus.delete_workspace(alice, workspace.id)
    await world.nexus.stop_workspace(alice, workspace.id, force=True)
    with pytest.raises(WorkspaceAlreadyStopped):
        await world.nexus.stop_workspace(alice, workspace.id)
    for move in (world.nexus.stop_workspace, world.nexus.delete_workspace):
        with pytest.raises(WorkspaceNotFound):
            await move(bob, workspace.id)


async def test_delete_leaves_nothing(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.delete_workspace(alice, workspace.id, force=True)
    assert world.leased() == frozenset()
    assert await world.provider.instances() == []
    assert await world.publisher.published() == {}
    with pytest.raises(WorkspaceNotFound):
        await world.nexus.delete_workspace(alice, workspace.id)


@pytest.mark.parametrize("stuck_in", ["create", "publish", "start", "handshake"])
async def test_stop_gives_up_a_creation_at_any_step(world: World, stuck_in: str) -> None:
    alice = world.register()
    stuck = world.faults.hang(stuck_in)
    workspace = await world.create(alice)
    await stuck.entered.wait()
    stopped = await world.nexus.stop_workspace(alice, workspace.id)
    assert stopped.status is Status.STOPPED
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


@pytest.mark.parametrize("stuck_in", ["create", "publish", "start", "handshake"])
async def test_delete_gives_up_a_creation_at_any_step(world: World, stuck_in: str) -> None:
    alice = world.register()
    stuck = world.faults.hang(stuck_in)
    workspace = await world.create(alice)
    await stuck.entered.wait()
    await world.nexus.delete_workspace(alice, workspace.id)
    assert (world.leased(), await world.provider.instances()) == (frozenset(), [])


async def test_delete_takes_over_from_a_stop_that_is_stuck(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("stop")
    stopping = asyncio.ensure_future(world.nexus.stop_workspace(alice, workspace.id))
    await stuck.entered.wait()
    await world.nexus.delete_workspace(alice, workspace.id)
    with pytest.raises((InvalidStatusTransition, WorkspaceNotFound)):
        await stopping


async def test_a_second_deletion_waits_for_the_first(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("delete")
    first = asyncio.ensure_future(world.nexus.delete_workspace(alice, workspace.id, force=True))
    await stuck.entered.wait()
    second = asyncio.ensure_future(world.nexus.delete_workspace(alice, workspace.id))
    await world.clock.settle()
    assert not second.done()
    stuck.release()
    await asyncio.gather(first, second)
    assert world.faults.count("delete") == 1


async def test_what_is_pending_can_be_stopped_and_deleted(world: World) -> None:
    async with World(policy=replace(world.policy, creations_at_once=1)) as crowded:
        alice = crowded.register()
        stuck = crowded.faults.hang("create")
        await crowded.create(alice, "first")
        waiting, third = await crowded.create(alice, "second"), await crowded.create(alice, "third")
        assert (waiting.status, crowded.show(waiting.id).queue_position) == (Status.PENDING, 1)
        assert crowded.show(third.id).queue_position == 2
        assert (await crowded.nexus.stop_workspace(alice, waiting.id)).status is Status.STOPPED
        await crowded.nexus.delete_workspace(alice, third.id)
        stuck.release()


async def test_stop_is_refused_while_the_provider_is_away(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.available = False
    with pytest.raises(ProviderUnavailable):
        await world.nexus.stop_workspace(alice, workspace.id)
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_delete_is_finished_when_the_provider_is_back(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.available = False
    with pytest.raises(ProviderUnavailable):
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
    view = world.show(workspace.id)
    assert view.workspace.status is Status.DELETING
    world.provider.available = True
    await world.clock.advance(1)
    assert (world.leased(), await world.provider.instances()) == (frozenset(), [])


async def test_a_stop_that_cannot_be_done_says_so(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.faults.fail("stop", ProviderFailed("It will not stop"))
    with pytest.raises(ProviderFailed, match="will not stop"):
        await world.nexus.stop_workspace(alice, workspace.id)
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert (failed.status, failed.error.step, failed.error.code) == (Status.ERROR, "stop_instance", "provider_failed")
    assert (await world.nexus.stop_workspace(alice, workspace.id)).status is Status.STOPPED


async def test_a_deletion_that_failed_can_be_asked_again(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.faults.fail("delete", ProviderFailed("The pool is busy"))
    with pytest.raises(ProviderFailed):
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
    await world.nexus.delete_workspace(alice, workspace.id)
    assert world.leased() == frozenset()


async def test_start_goes_on_from_the_failed_step(world: World) -> None:
    alice = world.register()
    world.faults.fail("start", ProviderFailed("No memory"))
    workspace = await world.running(alice)
    assert workspace.error is not None
    assert (workspace.status, workspace.error.step) == (Status.ERROR, "start_instance")
    assert world.steps(workspace.id)["wait_for_ssh"] == "pending"
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.show(workspace.id).workspace.error is None
    assert world.faults.count("create") == 1


async def test_start_makes_a_container_whose_creation_failed(world: World) -> None:
    alice = world.register()
    world.faults.fail("create", ProviderFailed("No space"), after_effect=True)
    workspace = await world.running(alice)
    assert workspace.status is Status.ERROR
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.faults.count("create") == 2


async def test_start_without_a_container_fails_and_says_why(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    await world.provider.delete(workspace.container_id)
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert failed.error.code == InstanceMissing.code
