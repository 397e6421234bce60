"""Whatever services depend on each other, and whatever befalls them: order holds, and failures are told apart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.service import ServiceSpec, graph_of
from nexus_core.errors import InvalidServiceGraph, ProviderUnavailable
from nexus_core.ports.workbench import Happening
from worlds import ADMIN, World, spec

METHODS = ["install", "start_services", "stop_services", "tail"]
NAMES = [f"s{number:02}" for number in range(12)]


@dataclass(frozen=True)
class Plan:
    """A graph, and what goes wrong."""

    services: tuple[ServiceSpec, ...]
    crashing: frozenset[str]
    sick: frozenset[str]
    finishing: frozenset[str]
    slow: frozenset[str]
    flaky: frozenset[str]

    @property
    def broken(self) -> frozenset[str]:
        """What cannot come up by itself."""
        return self.crashing | self.sick

    def prepare(self, world: World) -> None:
        insides = world.insides
        insides.crashing |= self.crashing
        insides.sick |= self.sick
        insides.finishing |= self.finishing
        insides.slow |= self.slow
        insides.flaky |= dict.fromkeys(self.flaky, 1)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[ServiceSpec, ...]:
    """Up to twelve services that need any of those before them, given in any order."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    services = [
        spec(name, *sorted(draw(st.sets(st.sampled_from(names[:index]), max_size=3)) if index else ()))
        for index, name in enumerate(names)
    ]
    return tuple(draw(st.permutations(services)))


@st.composite
def plans(draw: st.DrawFn, *, faults: bool = True) -> Plan:
    services = draw(graphs())
    fate = st.sampled_from(["well", "well", "well", "crashing", "sick", "finishing", "slow", "flaky"])
    fates = {one.name: draw(fate) if faults else "well" for one in services}
    kinds = ("crashing", "sick", "finishing", "slow", "flaky")
    return Plan(services, *(frozenset(name for name, fate in fates.items() if fate == kind) for kind in kinds))


def in_order(world: World, workspace: str, plan: Plan) -> None:
    """Nothing started before all it depends on were healthy, or had done their work."""
    needs = {one.name: one.depends_on for one in plan.services}
    ready: set[str] = set()
    for event in world.inside(workspace).events:
        if event.kind is Happening.STARTING:
            assert ready.issuperset(needs[event.service]), event
        if event.kind is Happening.HEALTHY or event.exit_code == 0:
            ready.add(event.service)
        elif event.kind is Happening.ENDED:
            ready.discard(event.service)
    up = world.inside(workspace).up
    for index, name in enumerate(up):
        assert set(up[:index]) | world.inside(workspace).finished >= set(needs[name])


def told_apart(world: World, workspace: str, plan: Plan) -> None:
    """One has failed, what needs it is stopped and says so, and the rest fares as it does inside."""
    view = world.show(workspace)
    inside = world.inside(workspace)
    services = {one.name: one for one in view.services}
    graph = graph_of(plan.services)
    if not plan.broken:
        assert view.workspace.status is Status.RUNNING
        expected = {name: "stopped" if name in plan.finishing else "running" for name in services}
        assert {name: str(one.status) for name, one in services.items()} == expected
        assert inside.ready == set(services)
        return
    assert view.workspace.status is Status.ERROR
    failed = [name for name, one in services.items() if one.status == "error"]
    assert failed
    assert plan.broken.issuperset(failed)
    for name in failed:
        assert services[name].error
        assert name not in inside.up
        for other in graph.dependents(name):
            assert services[other].status == "stopped"
            assert "which failed" in (services[other].error or "")
            assert other not in inside.up
    for name in inside.up:
        assert services[name].status == "running"


async def settle(world: World, workspace: str, plan: Plan) -> None:
    """Let all that is slow come up, and everything be seen."""
    await world.clock.advance(20)
    for name in plan.slow:
        world.insides.release(name)
        await world.clock.settle()
    await world.clock.advance(20)
    in_order(world, workspace, plan)


@given(plan=plans())
@settings(max_examples=40)
async def test_services_start_after_all_they_need_and_failures_are_told_apart(plan: Plan) -> None:
    async with World() as world:
        plan.prepare(world)
        workspace = await world.create(world.register(), services=plan.services)
        await settle(world, workspace.id, plan)
        told_apart(world, workspace.id, plan)


@given(plan=plans(), method=st.sampled_from(METHODS), after=st.booleans(), away=st.booleans())
@settings(max_examples=40)
async def test_a_server_that_ends_in_the_middle_changes_nothing(
    plan: Plan, method: str, after: bool, away: bool
) -> None:
    """Nor does a provider that goes away and comes back."""

    async def outcome(disturbed: bool) -> dict[str, tuple[str, str | None]]:
        async with World() as world:
            plan.prepare(world)
            if disturbed and away:
                world.faults.fail(method, ProviderUnavailable("LXD is away"), times=2, after_effect=after)
            elif disturbed:
                world.faults.hang(method, after_effect=after)
            workspace = await world.create(world.register(), services=plan.services)
            await world.clock.advance(1)
            if disturbed:
                await world.restart()
                world.faults.clear()
            await settle(world, workspace.id, plan)
            told_apart(world, workspace.id, plan)
            return {one.name: (str(one.status), one.error) for one in world.show(workspace.id).services}

    if len(plan.broken) > 1:
        # Which of several fails first is a matter of time: then only what holds anyhow is looked at.
        await outcome(disturbed=True)
        return
    assert await outcome(disturbed=True) == await outcome(disturbed=False)


@given(plan=plans(), delete=st.booleans())
@settings(max_examples=30)
async def test_a_workspace_given_up_in_the_middle_ends_as_asked(plan: Plan, delete: bool) -> None:
    async with World() as world:
        plan.prepare(world)
        alice = world.register()
        workspace = await world.create(alice, services=plan.services)
        await world.clock.settle()
        if delete:
            await world.nexus.delete_workspace(alice, workspace.id, force=True)
            assert world.provider.present() == []
            with world.store.snapshot() as records:
                assert records.services.of_workspace(workspace.id) == []
            return
        await world.nexus.stop_workspace(alice, workspace.id)
        assert set(world.fares(workspace.id).values()) == {"stopped"}
        world.nexus.start_workspace(alice, workspace.id)
        await settle(world, workspace.id, plan)
        told_apart(world, workspace.id, plan)


@given(services=graphs(), data=st.data())
@settings(max_examples=40)
async def test_a_circle_is_refused_with_its_path_and_nothing_is_stored(
    services: tuple[ServiceSpec, ...], data: st.DataObject
) -> None:
    names = [one.name for one in services]
    ring = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True))
    closed = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    circular = tuple(
        spec(one.name, *dict.fromkeys([*one.depends_on, *filter(None, [closed.get(one.name)])])) for one in services
    )
    needs = {one.name: one.depends_on for one in circular}
    async with World() as world:
        with pytest.raises(InvalidServiceGraph) as refused:
            await world.create(world.register(), services=circular)
        path = refused.value.details["cycle"]
        assert path[0] == path[-1]
        assert len(path) >= 2
        assert all(other in needs[one] for one, other in pairwise(path))
        assert " -> ".join(path) in refused.value.message
        assert world.nexus.list_workspaces(ADMIN, limit=9, offset=0) == ([], 0)
        assert world.leased() == frozenset()


@given(services=graphs(), data=st.data())
@settings(max_examples=20)
async def test_an_unknown_name_is_refused_and_nothing_is_stored(
    services: tuple[ServiceSpec, ...], data: st.DataObject
) -> None:
    victim = data.draw(st.sampled_from(services))
    wrong = tuple(spec(one.name, *one.depends_on, "nobody") if one is victim else one for one in services)
    async with World() as world:
        with pytest.raises(InvalidServiceGraph) as refused:
            await world.create(world.register(), services=wrong)
        assert refused.value.details == {"service": victim.name, "unknown": "nobody"}
        assert world.nexus.list_workspaces(ADMIN, limit=9, offset=0) == ([], 0)


async def test_two_workspaces_come_up_side_by_side(world: World) -> None:
    """What one waits for is nothing to the other."""
    alice = world.register()
    world.insides.slow.add("slow")
    waiting = await world.create(alice, "waiting", services=(spec("slow"),))
    quick = await world.create(alice, "quick", services=(spec("quick"),))
    await world.clock.settle()
    assert world.show(quick.id).workspace.status is Status.RUNNING
    assert world.show(waiting.id).workspace.status is Status.CREATING
    world.insides.release("slow")
    await asyncio.wait_for(world.idle(), 5)
    assert world.show(waiting.id).workspace.status is Status.RUNNING
