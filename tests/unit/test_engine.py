"""The engine: bounds, deadlines, waiting, recording, and going on after the process ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, StepName
from nexus_core.engine.deadline import within
from nexus_core.errors import (
    DatabaseBusy,
    HostKeyMismatch,
    HostPortsExhausted,
    ImageUnavailable,
    NexusError,
    ProviderFailed,
    ProviderUnavailable,
    StoreFailed,
)
from nexus_core.ports.port_publisher import Target
from nexus_core.ports.store import Records
from worlds import World, nothing


async def test_a_bounded_number_is_under_way_and_the_rest_wait_in_order(world: World) -> None:
    async with World(policy=replace(world.policy, creations_at_once=2)) as crowded:
        alice = crowded.register()
        stuck = crowded.faults.hang("create", times=2)
        names = [await crowded.create(alice, name) for name in ("a", "b", "c", "d")]
        assert [one.status for one in names] == ["creating", "creating", "pending", "pending"]
        assert [crowded.show(one.id).queue_position for one in names] == [None, None, 1, 2]
        status = crowded.nexus.show_server()
        assert (status.queued, status.running) == (2, 2)
        stuck.release()
        await crowded.idle()
        assert {crowded.show(one.id).workspace.status for one in names} == {Status.RUNNING}


async def test_stops_do_not_wait_behind_creations(world: World) -> None:
    async with World(policy=replace(world.policy, creations_at_once=1)) as crowded:
        alice = crowded.register()
        up = await crowded.running(alice, "up")
        crowded.faults.hang("create")
        await crowded.create(alice, "stuck")
        await crowded.create(alice, "waiting")
        assert (await crowded.nexus.stop_workspace(alice, up.id)).status is Status.STOPPED


@pytest.mark.parametrize(
    ("method", "step"),
    [("create", "create_instance"), ("publish", "publish_ssh"), ("start", "start_instance")],
)
async def test_a_step_ends_at_its_deadline(world: World, method: str, step: str) -> None:
    alice = world.register()
    world.faults.hang(method)
    workspace = await world.create(alice)
    await world.clock.advance(world.policy.deadlines[StepName(step)])
    failed = world.show(workspace.id)
    assert failed.workspace.error is not None
    assert (failed.workspace.error.code, failed.workspace.error.step) == ("deadline_exceeded", step)
    assert failed.operation is not None
    [record] = [one for one in failed.operation.steps if one.status == "failed"]
    assert record.duration_ms == world.policy.deadlines[StepName(step)] * 1000


async def test_ssh_that_never_answers_ends_at_the_deadline(world: World) -> None:
    alice = world.register()
    world.probe.refuse(2222)
    workspace = await world.create(alice)
    await world.clock.advance(30)
    assert world.show(workspace.id).workspace.status is Status.CREATING
    await world.clock.advance(31)
    error = world.show(workspace.id).workspace.error
    assert error is not None
    assert (error.code, error.step) == ("deadline_exceeded", "wait_for_ssh")


async def test_an_attempt_that_hangs_is_given_up_for_another(world: World) -> None:
    alice = world.register()
    world.faults.hang("handshake", times=2)
    workspace = await world.create(alice)
    await world.clock.advance(1)
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.faults.count("handshake") == 3


async def test_another_host_key_fails_at_once(world: World) -> None:
    alice = world.register()
    world.probe.prove(2222, world.keys.sample("impostor"))
    failed = await world.running(alice)
    assert failed.error is not None
    assert failed.error.code == HostKeyMismatch.code


async def test_creation_waits_for_a_provider_that_is_away(world: World) -> None:
    alice = world.register()
    world.faults.fail("create", ProviderUnavailable("LXD is away"), times=3)
    workspace = await world.create(alice)
    await world.clock.settle()
    view = world.show(workspace.id)
    assert view.operation is not None
    assert view.workspace.status is Status.CREATING
    assert "LXD is away" in (view.operation.steps[0].error or "")
    await world.clock.advance(0.5 + 1 + 2)
    view = world.show(workspace.id)
    assert view.operation is not None
    assert (view.workspace.status, view.operation.steps[0].error) == (Status.RUNNING, None)


async def test_a_failed_download_ends_in_error(world: World) -> None:
    alice = world.register()
    world.faults.fail("create", ImageUnavailable("The image server does not answer"))
    failed = await world.running(alice)
    assert failed.error is not None
    assert (failed.error.code, failed.error.step) == ("image_unavailable", "create_instance")
    assert "image server" in failed.error.message


async def test_a_fault_of_our_own_ends_in_error_and_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    alice = world.register()
    world.faults.fail("start", ZeroDivisionError("oops"))
    failed = await world.running(alice)
    assert failed.error is not None
    assert failed.error.code == "internal_error"
    assert "oops" not in failed.error.message
    assert "ZeroDivisionError" in caplog.text


async def test_a_port_taken_at_publish_time_is_exchanged(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("create")
    workspace = await world.create(alice)
    assert workspace.ssh_port == 2222
    world.publisher.listen(2222)
    stuck.release()
    await world.idle()
    moved = world.show(workspace.id).workspace
    assert (moved.status, moved.ssh_port) == (Status.RUNNING, 2223)
    assert "2222" in moved.notes[0]
    assert world.leased() == {2223}


async def test_no_port_left_at_publish_time_fails_the_step(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("create")
    workspace = await world.create(alice)
    for port in world.policy.ssh_ports:
        world.publisher.listen(port)
    stuck.release()
    await world.idle()
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert (failed.error.code, failed.error.step) == (HostPortsExhausted.code, "publish_ssh")
    assert world.leased() == {2222}
    for port in world.policy.ssh_ports:
        world.publisher.stop_listening(port)
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING


@pytest.mark.parametrize("stuck_in", ["create", "publish", "start", "handshake"])
async def test_a_creation_goes_on_after_a_restart(world: World, stuck_in: str) -> None:
    alice = world.register()
    stuck = world.faults.hang(stuck_in)
    workspace = await world.create(alice)
    await stuck.entered.wait()
    assert await world.restart() == 1
    await world.idle()
    up = world.show(workspace.id).workspace
    assert up.status is Status.RUNNING
    assert len(await world.provider.instances()) == 1
    assert world.leased() == {up.ssh_port}


async def test_short_work_is_let_end_before_the_engine_closes(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("stop")
    stopping = asyncio.ensure_future(world.nexus.stop_workspace(alice, workspace.id))
    await stuck.entered.wait()
    closing = asyncio.ensure_future(world.nexus.close())
    await world.clock.settle()
    assert not closing.done()
    stuck.release()
    assert (await stopping).status is Status.STOPPED
    await closing


async def test_what_does_not_end_in_time_is_left_to_the_next_start(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("stop")
    stopping = asyncio.ensure_future(world.nexus.stop_workspace(alice, workspace.id))
    await stuck.entered.wait()
    await world.nexus.engine.close(grace=0)
    with pytest.raises(ProviderUnavailable, match="stopping"):
        await stopping
    assert world.show(workspace.id).workspace.status is Status.STOPPING
    await world.restart()
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.STOPPED


async def test_a_closed_engine_takes_nothing_up(world: World) -> None:
    alice = world.register()
    await world.nexus.close()
    await world.nexus.close()
    assert (await world.create(alice)).status is Status.PENDING


async def test_a_successor_waits_for_work_that_is_slow_to_let_go(world: World) -> None:
    """A cancelled creation may take a while to end beneath; nothing else touches the container meanwhile."""
    alice = world.register()
    letting_go = asyncio.Event()
    original = world.provider.create

    async def stubborn(spec):  # type: ignore[no-untyped-def]  # same as the original
        try:
            return await original(spec)
        except asyncio.CancelledError:
            await letting_go.wait()
            raise

    world.provider.create = stubborn  # type: ignore[method-assign]  # the fake has no fault for this
    stuck = world.faults.hang("create")
    workspace = await world.create(alice)
    await stuck.entered.wait()
    stopping = asyncio.ensure_future(world.nexus.stop_workspace(alice, workspace.id))
    await world.clock.settle()
    deleting = asyncio.ensure_future(world.nexus.delete_workspace(alice, workspace.id))
    await world.clock.settle()
    assert world.faults.count("stop") == world.faults.count("delete") == 0
    letting_go.set()
    await asyncio.gather(stopping, deleting, return_exceptions=True)
    assert world.faults.count("delete") == 1
    assert await world.provider.instances() == []


@contextmanager
def database_away(world: World, monkeypatch: pytest.MonkeyPatch, error: NexusError) -> Generator[None]:
    """Every transaction fails meanwhile."""
    transaction = world.store.transaction

    @contextmanager
    def failing() -> Generator[Records]:
        if error:
            raise error
        with transaction() as records:
            yield records

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "transaction", failing)
        yield


@pytest.mark.parametrize("error", [DatabaseBusy("The disk is full"), StoreFailed("I/O error")])
async def test_work_waits_for_the_database(world: World, monkeypatch: pytest.MonkeyPatch, error: NexusError) -> None:
    alice = world.register()
    stuck = world.faults.hang("start")
    workspace = await world.create(alice)
    await stuck.entered.wait()
    with database_away(world, monkeypatch, error):
        stuck.release()
        await world.clock.advance(5)
        assert world.show(workspace.id).workspace.status is Status.CREATING
    await world.clock.advance(15)
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_what_was_accepted_is_taken_up_when_the_database_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = world.register()
    await world.nexus.engine.close()
    workspace = await world.create(alice)
    world.nexus.engine._open = True
    with database_away(world, monkeypatch, DatabaseBusy("Locked")):
        world.nexus.engine.admit()
    assert world.show(workspace.id).workspace.status is Status.PENDING
    await world.clock.advance(60)
    assert world.show(workspace.id).workspace.status is Status.RUNNING


async def test_a_vanished_record_is_a_logged_fault_and_harms_no_one_else(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = world.register()
    stuck = world.faults.hang("handshake")
    await world.create(alice)
    await stuck.entered.wait()
    with world.store.snapshot() as records:
        workspaces = type(records.workspaces)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(workspaces, "get", nothing)
        stuck.release()
        await world.idle()
    assert "vanished" in caplog.text
    other = await world.running(alice, "other")
    assert other.status is Status.RUNNING


async def test_waiting_for_an_operation_nobody_knows_is_an_error(world: World) -> None:
    with pytest.raises(NexusError, match="not known"):
        await world.nexus.engine.completion("op-unknown")


async def test_events_tell_the_whole_story(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.stop_workspace(alice, workspace.id)
    with world.store.snapshot() as records:
        events = records.events.after(0, workspace_id=workspace.id)
    statuses = [one.data["status"] for one in events if one.kind == "status"]
    assert statuses == ["pending", "creating", "running", "stopping", "stopped"]
    steps = [(one.data["step"], one.data["status"]) for one in events if one.kind == "step"]
    assert steps[:4] == [
        ("create_instance", "running"),
        ("create_instance", "done"),
        ("publish_ssh", "running"),
        ("publish_ssh", "done"),
    ]


async def test_a_cancelled_operation_is_recorded_as_such(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("start")
    workspace = await world.create(alice)
    await stuck.entered.wait()
    await world.clock.advance(2)
    view = world.show(workspace.id)
    assert view.operation is not None
    creation = view.operation.id
    await world.nexus.stop_workspace(alice, workspace.id)
    with world.store.snapshot() as records:
        cancelled = records.operations.get(creation)
    assert cancelled is not None
    assert cancelled.kind is OperationKind.CREATE
    assert [str(step.status) for step in cancelled.steps[:4]] == ["done", "done", "cancelled", "cancelled"]
    assert cancelled.steps[2].duration_ms == 2000


async def test_a_step_that_lost_its_container_fails(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("publish")
    workspace = await world.create(alice)
    await stuck.entered.wait()
    await world.provider.delete(workspace.container_id)
    stuck.release()
    await world.idle()
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert (failed.error.code, failed.error.step) == ("instance_missing", "start_instance")


async def test_within_ends_late_work_and_passes_results_on(world: World) -> None:
    ended = asyncio.Event()

    async def slow() -> str:
        try:
            await world.clock.sleep(10)
        finally:
            ended.set()
        return "slow"

    late = asyncio.ensure_future(within(world.clock, 5, slow()))
    await world.clock.advance(5)
    with pytest.raises(TimeoutError):
        await late
    assert ended.is_set()
    in_time = asyncio.ensure_future(within(world.clock, 15, slow()))
    await world.clock.advance(10)
    assert await in_time == "slow"


async def test_a_failed_provider_call_is_not_repeated(world: World) -> None:
    alice = world.register()
    world.faults.fail("create", ProviderFailed("No space"))
    await world.running(alice)
    assert world.faults.count("create") == 1


async def test_publishing_leads_to_the_containers_own_address(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    instance = await world.provider.observe(workspace.container_id)
    assert instance.address is not None
    assert world.publisher.target(2222) == Target(instance.address, 22)


async def test_someone_who_stops_waiting_harms_no_one_else(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    stuck = world.faults.hang("stop")
    impatient = asyncio.ensure_future(world.nexus.stop_workspace(alice, workspace.id))
    await stuck.entered.wait()
    operation = world.show(workspace.id).operation
    assert operation is not None
    patient = asyncio.ensure_future(world.nexus.engine.completion(operation.id))
    await world.clock.settle()
    impatient.cancel()
    world.nexus.engine._resolve(operation.id, ProviderUnavailable("LXD is away"))
    with pytest.raises(ProviderUnavailable):
        await patient
    stuck.release()
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.STOPPED


async def test_a_workspace_without_a_port_withdraws_none_and_cannot_be_reached(world: World) -> None:
    """No such workspace is made yet: this is what the steps say of one."""
    alice = world.register()
    workspace = await world.running(alice)
    operation = world.show(workspace.id).operation
    assert operation is not None
    actions = world.nexus.engine._actions
    await actions[StepName.WITHDRAW_SSH](replace(workspace, ssh_port=None), operation)
    assert world.publisher.target(2222) is not None
    with pytest.raises(ProviderFailed, match="no SSH port"):
        await actions[StepName.WAIT_FOR_SSH](replace(workspace, ssh_port=None), operation)


async def test_a_workspace_without_an_owner_is_a_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    with world.store.snapshot() as records:
        users = type(records.users)
    stuck = world.faults.hang("check_image")
    creating = asyncio.ensure_future(world.create(alice))
    await stuck.entered.wait()
    with monkeypatch.context() as patch:
        patch.setattr(users, "get", nothing)
        stuck.release()
        workspace = await creating
        await world.idle()
    failed = world.show(workspace.id).workspace
    assert failed.error is not None
    assert failed.error.code == "internal_error"
