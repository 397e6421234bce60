"""What the reconciler makes of services and their forwards: what should lead somewhere does, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nexus_core import Caller
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import PublishFailed
from nexus_core.ports.port_publisher import Target
from worlds import World, spec

ROUND = 45.0
HIDDEN = (spec("api", port=4000, expose=False), spec("db", port=5432, expose=False))


@pytest.fixture
async def world(world: World) -> AsyncIterator[World]:
    """A server with three ports for services."""
    async with World(policy=replace(world.policy, service_ports=PortRange(23000, 23002))) as small:
        yield small


async def test_forwards_swept_away_are_published_again(world: World) -> None:
    await world.running(world.register(), services=(spec("web", port=3000),))
    await world.publisher.withdraw(23000)
    await world.clock.advance(ROUND)
    assert world.forwarded() == {23000: 3000}


async def test_a_restart_restores_them_and_nothing_else(world: World) -> None:
    alice = world.register()
    await world.running(alice, services=(spec("web", port=3000),))
    await world.publisher.restore({23002: Target("10.0.0.9", 80)})
    await world.restart()
    assert world.forwarded() == {23000: 3000}


async def test_a_failed_workspace_can_be_reached_over_ssh_after_a_restart(world: World) -> None:
    world.insides.failing["npm ci"] = 1
    failed = await world.running(world.register(), setup=("npm ci",))
    assert failed.status is Status.ERROR
    await world.restart()
    assert set(await world.publisher.published()) == {failed.ssh_port}


async def test_a_container_that_stopped_by_itself_has_its_forwards_closed(world: World) -> None:
    workspace = await world.running(world.register(), services=(spec("web", port=3000),))
    world.halt(workspace.id)
    await world.clock.advance(ROUND)
    shown = world.show(workspace.id)
    assert shown.workspace.status is Status.STOPPED
    assert world.forwarded() == {}
    assert [str(one.status) for one in shown.services] == ["stopped"]


async def test_the_services_of_a_container_that_vanished_are_shown_stopped(world: World) -> None:
    workspace = await world.running(world.register(), services=(spec("web", port=3000),))
    world.provider.vanish(workspace.container_id)
    await world.clock.advance(ROUND)
    assert world.show(workspace.id).workspace.status is Status.ERROR
    assert world.fares(workspace.id) == {"web": "stopped"}


async def test_what_was_left_behind_by_a_move_is_given_back(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    await world.nexus.forward_port(alice, workspace.id, "api", port=23000)
    world.faults.fail("withdraw", PublishFailed("No permission"))
    with pytest.raises(PublishFailed):
        await world.nexus.forward_port(alice, workspace.id, "api", port=23001)
    await world.clock.advance(ROUND)
    assert world.forwarded() == {23001: 4000}
    assert world.leased(PortKind.SERVICE) == {23001}


async def test_a_move_under_way_is_not_interfered_with(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=HIDDEN)
    await world.nexus.forward_port(alice, workspace.id, "api", port=23000)
    stuck = world.faults.hang("withdraw")
    moving = asyncio.ensure_future(world.nexus.forward_port(alice, workspace.id, "api", port=23001))
    await stuck.entered.wait()
    await world.nexus.reconciler.reconcile()
    assert world.leased(PortKind.SERVICE) == {23000, 23001}
    stuck.release()
    await moving
    assert world.forwarded() == {23001: 4000}
    assert world.leased(PortKind.SERVICE) == {23001}


async def test_a_port_of_a_stopped_workspace_is_withdrawn(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(spec("web", port=3000),))
    published = await world.publisher.published()
    await world.nexus.stop_workspace(alice, workspace.id)
    for port, target in published.items():
        await world.publisher.publish(port, target)
    await world.clock.advance(ROUND)
    assert await world.publisher.published() == {}


async def test_one_port_that_cannot_be_published_holds_up_no_other(world: World) -> None:
    alice: Caller = world.register()
    await world.running(alice, "one", services=(spec("web", port=3000),))
    await world.running(alice, "two", services=(spec("web", port=80),))
    for port in (23000, 23001):
        await world.publisher.withdraw(port)
    world.publisher.listen(23001)
    await world.clock.advance(ROUND)
    assert world.forwarded() == {23000: 3000}
