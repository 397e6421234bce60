"""What is made of containers that are not as the records say: the truth, with what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import ProviderFailed, ProviderUnavailable, WorkspaceNotRunning
from nexus_core.ports.provider import InstanceState
from worlds import World, spec

WEB = (spec("web", port=3000),)


async def looked_at(world: World, workspace: Workspace) -> Workspace:
    """The workspace after a round of the reconciler and the work that comes of it."""
    world.insides.wake()
    await world.nexus.reconciler.reconcile()
    await world.idle()
    return world.show(workspace.id).workspace


async def test_a_container_that_went_down_with_its_machine_is_started_again(world: World) -> None:
    workspace = await world.running(world.register(), services=WEB)
    published = await world.publisher.published()
    world.provider.node.power_cut()
    await world.publisher.restore({})
    shown = await looked_at(world, workspace)
    assert (shown.status, shown.ssh_port, shown.host_key) == (Status.RUNNING, workspace.ssh_port, workspace.host_key)
    assert world.fares(workspace.id) == {"web": "running"}
    assert await world.publisher.published() == published
    assert "went down with LXD or the machine" in shown.notes[0]


async def test_what_was_stopped_before_the_machine_went_down_stays_so(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    world.provider.node.power_cut()
    assert (await looked_at(world, workspace)).status is Status.STOPPED


async def test_a_workspace_runs_whose_container_was_started_by_hand(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=WEB)
    await world.nexus.stop_workspace(alice, workspace.id)
    world.provider.halt(workspace.container_id, InstanceState.RUNNING)
    shown = await looked_at(world, workspace)
    assert shown.status is Status.RUNNING
    assert world.publisher.target(2222) is not None
    assert "started by another's hand" in shown.notes[0]


async def test_the_same_is_noted_once(world: World) -> None:
    workspace = await world.running(world.register())
    for _ in range(3):
        world.provider.cut_off(workspace.container_id)
        await looked_at(world, workspace)
    assert len(world.show(workspace.id).workspace.notes) == 1


async def test_a_paused_container_says_so_and_goes_on_with_its_workspace(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    world.provider.freeze(workspace.container_id)
    shown = await looked_at(world, workspace)
    assert shown.error is not None
    assert (shown.status, shown.error.code) == (Status.ERROR, "instance_stopped")
    assert "paused" in shown.error.message
    assert world.publisher.target(2222) is None
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_one_that_somebody_lets_go_on_runs_again(world: World) -> None:
    workspace = await world.running(world.register())
    world.provider.freeze(workspace.container_id)
    await looked_at(world, workspace)
    world.provider.halt(workspace.container_id, InstanceState.RUNNING)
    assert (await looked_at(world, workspace)).status is Status.RUNNING


async def test_a_failed_operation_has_the_last_word(world: World) -> None:
    world.insides.failing["npm ci"] = 1
    failed = await world.running(world.register(), setup=("npm ci",))
    assert failed.status is Status.ERROR
    assert await looked_at(world, failed) == failed


async def test_a_broken_container_is_an_error_with_advice(world: World) -> None:
    workspace = await world.running(world.register())
    world.provider.halt(workspace.container_id, InstanceState.BROKEN)
    shown = await looked_at(world, workspace)
    assert shown.error is not None
    assert (shown.status, shown.error.code) == (Status.ERROR, "provider_failed")
    assert "Start the workspace" in shown.error.message


async def test_a_renamed_container_is_told_by_its_new_name(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    containers = world.provider.node.containers
    renamed = containers.pop(workspace.container_id)
    renamed.instance = replace(renamed.instance, name="mine")
    containers["mine"] = renamed
    shown = await looked_at(world, workspace)
    assert shown.error is not None
    assert f"lxc rename mine {workspace.container_id}" in shown.error.message


async def test_a_workspace_given_up_before_it_had_a_container_lacks_none(world: World) -> None:
    alice = world.register()
    world.faults.hang("create")
    workspace = await world.create(alice)
    await world.clock.settle()
    await world.nexus.stop_workspace(alice, workspace.id)
    assert (await looked_at(world, workspace)).status is Status.STOPPED


async def test_what_was_deleted_while_it_was_looked_at_is_left_alone(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("observe")
    world.provider.halt(workspace.container_id)
    round_ = asyncio.ensure_future(world.nexus.reconciler.reconcile())
    await stuck.entered.wait()
    await world.nexus.delete_workspace(alice, workspace.id, force=True)
    stuck.release()
    await round_
    assert world.provider.present() == []


async def test_work_that_has_begun_meanwhile_goes_on(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    looking = world.faults.hang("observe")
    world.provider.halt(workspace.container_id)
    round_ = asyncio.ensure_future(world.nexus.reconciler.reconcile())
    await looking.entered.wait()
    # The rotation leaves the status alone, and hangs over the workspace while it is looked at.
    rotating = world.faults.hang("authorize")
    rotation = asyncio.ensure_future(world.nexus.rotate_key(alice, "alice", world.keys.sample("new").text, None))
    await rotating.entered.wait()
    looking.release()
    await round_
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    rotating.release()
    await rotation


async def test_containers_from_before_a_restoration_are_spared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    restored = world.provider.node.moment() + timedelta(seconds=1)
    monkeypatch.setattr(type(world.store), "restored_at", property(lambda _: restored))
    with world.store.transaction() as records:
        records.workspaces.update(replace(workspace, status=Status.DELETED, deleted_at=world.clock.now()))
    await world.clock.advance(300)
    assert [one.name for one in world.provider.present()] == [workspace.container_id]
    restored -= timedelta(days=1)
    await world.clock.advance(300)
    assert world.provider.present() == []


async def test_who_asks_of_a_container_that_is_down_is_told_so_and_the_records_know(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=WEB)
    world.halt(workspace.id)
    with pytest.raises(WorkspaceNotRunning):
        await world.nexus.restart_service(alice, workspace.id, "web")
    assert world.show(workspace.id).workspace.status is Status.STOPPED


async def test_a_look_that_fails_keeps_nobody_from_the_answer(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=WEB)
    world.halt(workspace.id)
    world.faults.fail("observe", ProviderFailed("Not now"))
    with pytest.raises(WorkspaceNotRunning):
        await world.nexus.restart_service(alice, workspace.id, "web")


async def test_one_that_cannot_be_looked_at_holds_up_no_other(world: World) -> None:
    alice = world.register()
    one, two = await world.running(alice, "one"), await world.running(alice, "two")
    for each in (one, two):
        world.provider.halt(each.container_id)
    world.faults.fail("observe", ProviderFailed("Not now"))
    await world.nexus.reconciler.reconcile()
    statuses = {world.show(each.id).workspace.status for each in (one, two)}
    assert statuses == {Status.RUNNING, Status.STOPPED}


async def test_an_operation_goes_back_to_the_start_if_the_machine_went_down(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("run_setup")
    workspace = await world.create(alice, setup=("npm ci",), services=WEB)
    await stuck.entered.wait()
    await world.nexus.engine.close(grace=0)
    world.provider.node.power_cut()
    await world.publisher.restore({})
    world.faults.clear()
    await world.restart()
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.publisher.target(2222) is not None
    assert world.faults.count("create") == 1


async def test_a_provider_that_goes_away_in_a_round_ends_it(world: World) -> None:
    workspace = await world.running(world.register())
    world.provider.halt(workspace.container_id)
    world.faults.fail("observe", ProviderUnavailable("Away"))
    with pytest.raises(ProviderUnavailable):
        await world.nexus.reconciler.reconcile()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
