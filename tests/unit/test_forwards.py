"""Host ports that lead to services: leased, published, moved and given back, also when something fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import (
    HostPortsExhausted,
    InstanceMissing,
    InvalidRequest,
    NexusError,
    PortForwardNotFound,
    PortInUse,
    ProviderUnavailable,
    PublishFailed,
    ServiceNotFound,
    WorkspaceNotFound,
    WorkspaceNotRunning,
)
from worlds import ADMIN, World, spec

ROUND = 45.0
HIDDEN = (spec("api", port=4000, expose=False), spec("db", port=5432, expose=False))


@pytest.fixture
async def world(world: World) -> AsyncIterator[World]:
    """A server with three ports for services."""
    async with World(policy=replace(world.policy, service_ports=PortRange(23000, 23002))) as small:
        yield small


async def test_exposed_services_are_forwarded_at_their_start_and_others_are_not(world: World) -> None:
    services = (spec("web", port=3000), spec("api", port=4000), spec("db", port=5432, expose=False), spec("worker"))
    workspace = await world.running(world.register(), services=services)
    assert {one.name: one.mapped_port for one in world.show(workspace.id).services} == {
        "api": 23001,
        "db": None,
        "web": 23000,
        "worker": None,
    }
    assert world.forwarded() == {23000: 3000, 23001: 4000}
    assert world.leased(PortKind.SERVICE) == {23000, 23001}
    assert world.steps(workspace.id)["forward_ports"] == "done"
    target = world.publisher.target(23000)
    assert target is not None
    assert target.on == "127.0.0.1"


async def test_forwards_close_with_a_stop_and_are_the_same_after_a_start(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("web", port=3000), *HIDDEN))
    await world.nexus.forward_port(alice, workspace.id, "db")
    await world.nexus.stop_workspace(alice, workspace.id)
    assert world.forwarded() == {}
    assert world.leased(PortKind.SERVICE) == {23000, 23001}
    other = await world.running(alice, "other", services=(spec("web", port=80),))
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.forwarded() == {23000: 3000, 23001: 5432, 23002: 80}
    await world.nexus.delete_workspace(alice, workspace.id, force=True)
    await world.nexus.delete_workspace(alice, other.id, force=True)
    assert world.forwarded() == {}
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_service_is_forwarded_on_demand_and_again_without_a_change(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    assert world.forwarded() == {}
    opened = await world.nexus.forward_port(alice, workspace.id, "api")
    assert (opened.is_new, opened.lease.port, opened.service.mapped_port) == (True, 23000, 23000)
    assert opened.lease.allocated_at == world.clock.now()
    await world.clock.advance(1)
    again = await world.nexus.forward_port(alice, workspace.id, "api")
    assert (again.is_new, again.lease) == (False, opened.lease)
    assert (await world.nexus.forward_port(alice, workspace.id, "api", port=23000)).is_new is False
    assert world.forwarded() == {23000: 4000}


async def test_a_port_that_is_named_is_the_one_and_a_forward_moves_there(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    assert (await world.nexus.forward_port(alice, workspace.id, "api", port=23002)).lease.port == 23002
    moved = await world.nexus.forward_port(alice, workspace.id, "api", port=23001)
    assert (moved.is_new, moved.lease.port) == (True, 23001)
    assert world.forwarded() == {23001: 4000}
    assert world.leased(PortKind.SERVICE) == {23001}


async def test_a_port_that_is_anothers_is_in_use(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    await world.nexus.forward_port(alice, workspace.id, "db", port=23001)
    world.publisher.listen(23002)
    for port in (23001, 23002):
        with pytest.raises(PortInUse) as refused:
            await world.nexus.forward_port(alice, workspace.id, "api", port=port)
        assert refused.value.details == {"mapped_port": port}
    assert world.forwarded() == {23001: 5432}
    assert world.leased(PortKind.SERVICE) == {23001}


@pytest.mark.parametrize("port", [22, 22999, 23003])
async def test_a_port_out_of_range_is_refused(world: World, port: int) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    with pytest.raises(InvalidRequest) as refused:
        await world.nexus.forward_port(alice, workspace.id, "api", port=port)
    assert refused.value.details == {"$.mapped_port": "must be between 23000 and 23002"}
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_what_has_no_port_cannot_be_forwarded(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("worker"),))
    with pytest.raises(InvalidRequest, match="no port"):
        await world.nexus.forward_port(alice, workspace.id, "worker")


async def test_only_services_of_ones_own_running_workspace_are_forwarded(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    workspace = await world.running(alice, services=HIDDEN)
    forward, close = world.nexus.forward_port, world.nexus.close_forward
    for call in (forward, close):
        with pytest.raises(WorkspaceNotFound):
            await call(bob, workspace.id, "api")
        with pytest.raises(ServiceNotFound):
            await call(alice, workspace.id, "nothing")
    await world.nexus.stop_workspace(alice, workspace.id)
    with pytest.raises(WorkspaceNotRunning) as refused:
        await forward(ADMIN, workspace.id, "api")
    assert refused.value.details == {"status": "stopped"}
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_forward_that_is_closed_stays_closed(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("web", port=3000),))
    await world.nexus.close_forward(alice, workspace.id, "web")
    assert world.forwarded() == {}
    assert world.leased(PortKind.SERVICE) == frozenset()
    with pytest.raises(PortForwardNotFound):
        await world.nexus.close_forward(alice, workspace.id, "web")
    await world.nexus.stop_workspace(alice, workspace.id)
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.forwarded() == {}


async def test_a_forward_of_a_stopped_workspace_can_be_closed(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("web", port=3000),))
    await world.nexus.stop_workspace(alice, workspace.id)
    await world.nexus.close_forward(alice, workspace.id, "web")
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_forward_that_cannot_be_closed_stays_until_it_can(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("web", port=3000),))
    world.faults.fail("withdraw", PublishFailed("No permission"))
    with pytest.raises(PublishFailed):
        await world.nexus.close_forward(alice, workspace.id, "web")
    assert world.forwarded() == {23000: 3000}
    await world.nexus.close_forward(alice, workspace.id, "web")
    assert world.forwarded() == {}
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_port_that_was_taken_meanwhile_is_exchanged_unless_it_was_named(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    await world.nexus.forward_port(alice, workspace.id, "db", port=23001)
    await world.nexus.stop_workspace(alice, workspace.id)
    world.publisher.listen(23001)
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.service(workspace.id, "db").mapped_port == 23000
    assert world.forwarded() == {23000: 5432}
    assert world.leased(PortKind.SERVICE) == {23000}


async def test_a_port_taken_between_the_look_and_the_publication_is_exchanged(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    stuck = world.faults.hang("publish")
    forwarding = asyncio.ensure_future(world.nexus.forward_port(alice, workspace.id, "api"))
    await stuck.entered.wait()
    world.publisher.listen(23000)
    stuck.release()
    assert (await forwarding).lease.port == 23001
    assert world.leased(PortKind.SERVICE) == {23001}


async def test_a_named_port_taken_between_the_look_and_the_publication_is_in_use(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    await world.nexus.forward_port(alice, workspace.id, "api")
    stuck = world.faults.hang("publish")
    forwarding = asyncio.ensure_future(world.nexus.forward_port(alice, workspace.id, "api", port=23002))
    await stuck.entered.wait()
    world.publisher.listen(23002)
    stuck.release()
    with pytest.raises(PortInUse):
        await forwarding
    assert world.service(workspace.id, "api").mapped_port == 23000
    assert world.leased(PortKind.SERVICE) == {23000}
    assert world.forwarded() == {23000: 4000}


@pytest.mark.parametrize("error", [PublishFailed("No permission"), asyncio.CancelledError()])
async def test_a_forward_that_fails_changes_nothing(world: World, error: BaseException) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    for before in ({}, {23000: 4000}):
        world.faults.fail("publish", error)
        with pytest.raises(type(error)):
            await world.nexus.forward_port(alice, workspace.id, "api", port=23002)
        assert world.forwarded() == before
        assert world.leased(PortKind.SERVICE) == before.keys()
        await world.nexus.forward_port(alice, workspace.id, "api")


async def test_no_port_left_changes_nothing(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(*HIDDEN, spec("web", port=80, expose=False)))
    for name in ("web", "db"):
        await world.nexus.forward_port(alice, workspace.id, name)
    world.publisher.listen(23002)
    with pytest.raises(HostPortsExhausted):
        await world.nexus.forward_port(alice, workspace.id, "api")
    assert world.leased(PortKind.SERVICE) == {23000, 23001}


async def test_the_last_port_taken_at_the_last_moment_changes_nothing(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    stuck = world.faults.hang("publish")
    forwarding = asyncio.ensure_future(world.nexus.forward_port(alice, workspace.id, "api"))
    await stuck.entered.wait()
    for port in (23000, 23001, 23002):
        world.publisher.listen(port)
    stuck.release()
    with pytest.raises(HostPortsExhausted):
        await forwarding
    assert world.service(workspace.id, "api").mapped_port is None
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_provider_that_is_away_is_said(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    world.provider.available = False
    with pytest.raises(ProviderUnavailable):
        await world.nexus.forward_port(alice, workspace.id, "api")
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_a_container_that_is_gone_is_said(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    world.provider.vanish(workspace.container_id)
    with pytest.raises(NexusError, match="no address"):
        await world.nexus.forward_port(alice, workspace.id, "api")


@pytest.mark.parametrize("stuck_in", ["observe", "publish"])
@pytest.mark.parametrize("gone", [False, True])
async def test_a_workspace_that_stops_meanwhile_is_not_forwarded(world: World, stuck_in: str, gone: bool) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    stuck = world.faults.hang(stuck_in)
    forwarding = asyncio.ensure_future(world.nexus.forward_port(alice, workspace.id, "api"))
    await stuck.entered.wait()
    if gone:
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
    else:
        await world.nexus.stop_workspace(alice, workspace.id)
    stuck.release()
    with pytest.raises(NexusError) as refused:
        await forwarding
    assert isinstance(refused.value, WorkspaceNotRunning | ServiceNotFound | InstanceMissing)
    assert world.forwarded() == {}
    assert world.leased(PortKind.SERVICE) == frozenset()


async def test_changes_to_one_workspace_come_one_after_another(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)

    async def forward(port: int) -> int:
        return (await world.nexus.forward_port(alice, workspace.id, "api", port=port)).lease.port

    assert list(await asyncio.gather(forward(23000), forward(23002), forward(23001))) == [23000, 23002, 23001]
    assert world.forwarded() == {23001: 4000}
    assert world.leased(PortKind.SERVICE) == {23001}


async def test_two_workspaces_never_get_one_port(world: World) -> None:
    alice = world.register()
    names = [await world.running(alice, name, services=(spec("a", port=80, expose=False),)) for name in "xyz"]
    opened = await asyncio.gather(*(world.nexus.forward_port(alice, one.id, "a") for one in names))
    assert {one.lease.port for one in opened} == {23000, 23001, 23002}


async def test_a_repeated_step_keeps_the_ports_it_has(world: World) -> None:
    alice = world.register()
    stuck = world.faults.hang("publish", skip=2, after_effect=True)
    workspace = await world.create(alice, services=(spec("web", port=3000), spec("api", port=4000)))
    await stuck.entered.wait()
    await world.restart()
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.forwarded() == {23000: 3000, 23001: 4000}


async def test_what_was_stopped_by_hand_is_not_forwarded(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("api", port=4000, expose=False),))
    world.provider.halt(workspace.container_id)
    with pytest.raises(WorkspaceNotRunning):
        await world.nexus.forward_port(alice, workspace.id, "api")
    assert world.leased(PortKind.SERVICE) == frozenset()
