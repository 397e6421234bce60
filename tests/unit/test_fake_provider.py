"""The fake provider keeps the provider's promises, and breaks them when told to."""

from __future__ import annotations

import asyncio

import pytest

from contracts.provider_contract import MakeSpec, ProviderContract, new_key
from nexus_core.errors import ImageUnavailable, ProviderFailed
from nexus_core.ports.provider import InstanceState, WorkspaceProvider
from nexus_fakes import FakeClock, FakeProvider, Faults
from nexus_fakes.provider import FakeNode


class TestFakeProvider(ProviderContract):
    @pytest.fixture
    def image(self) -> str:
        return "nexus-base"

    @pytest.fixture
    def provider(self) -> FakeProvider:
        return FakeProvider()

    @pytest.fixture
    def neighbour(self, provider: FakeProvider) -> FakeProvider:
        return FakeProvider(server_id="neighbour", node=provider.node)

    @pytest.fixture
    def away(self) -> FakeProvider:
        provider = FakeProvider()
        provider.available = False
        return provider

    async def authorized_keys(self, provider: WorkspaceProvider, name: str) -> list[str]:
        assert isinstance(provider, FakeProvider)
        key = provider.authorized_key(name)
        return [] if key is None else [key.text]

    async def freeze(self, provider: WorkspaceProvider, name: str) -> None:
        assert isinstance(provider, FakeProvider)
        provider.freeze(name)

    async def test_a_remote_image_may_be_lost(self, provider: FakeProvider, spec: MakeSpec) -> None:
        provider.node.lost_images.add("ubuntu:22.04")
        await provider.check_image("ubuntu:22.04")
        with pytest.raises(ImageUnavailable):
            await provider.create(spec(image="ubuntu:22.04"))
        await provider.create(spec(image="ubuntu:24.04"))

    async def test_instances_stop_break_and_vanish_by_themselves(self, provider: FakeProvider, spec: MakeSpec) -> None:
        wanted = spec()
        await provider.create(wanted)
        await provider.start(wanted.name)
        provider.halt(wanted.name)
        assert (await provider.observe(wanted.name)).state is InstanceState.STOPPED
        provider.halt(wanted.name, InstanceState.BROKEN)
        assert [one.state for one in provider.present()] == [InstanceState.BROKEN]
        assert provider.spec(wanted.name) == wanted
        provider.vanish(wanted.name)
        assert provider.present() == await provider.instances() == []
        assert provider.authorized_key(wanted.name) is None

    async def test_what_ran_is_cut_off_by_a_power_cut_until_it_is_started(
        self, provider: FakeProvider, spec: MakeSpec
    ) -> None:
        running, paused, idle = [(await provider.create(spec())).name for _ in range(3)]
        await provider.start(running)
        await provider.start(paused)
        provider.freeze(paused)
        provider.node.power_cut()
        seen = {one.name: (one.state, one.cut_off) for one in await provider.instances()}
        stopped = InstanceState.STOPPED
        assert seen == {running: (stopped, True), paused: (stopped, True), idle: (stopped, False)}
        assert not (await provider.start(running)).cut_off
        provider.cut_off(running)
        assert (await provider.observe(running)).cut_off
        provider.halt(paused)
        assert not (await provider.observe(paused)).cut_off

    async def test_each_time_it_begins_to_run_is_another_life(self, provider: FakeProvider, spec: MakeSpec) -> None:
        name = (await provider.create(spec())).name
        assert provider.life(name) is None
        await provider.start(name)
        first = provider.life(name)
        provider.freeze(name)
        await provider.start(name)
        assert provider.life(name) == first
        await provider.stop(name, grace=0)
        await provider.start(name)
        assert provider.life(name) not in (None, first)

    async def test_a_restarted_server_finds_its_instances(self, provider: FakeProvider, spec: MakeSpec) -> None:
        made = await provider.create(spec())
        assert await FakeProvider(node=provider.node).instances() == [made]

    async def test_the_second_call_fails(self, provider: FakeProvider, spec: MakeSpec) -> None:
        provider.faults.fail("create", ProviderFailed("No space"), skip=1)
        await provider.create(spec())
        with pytest.raises(ProviderFailed, match="No space"):
            await provider.create(spec())
        await provider.create(spec())
        assert len(provider.present()) == 2
        assert provider.faults.calls == ["create"] * 3

    async def test_failing_halfway_leaves_the_effect(self, provider: FakeProvider, spec: MakeSpec) -> None:
        wanted = spec()
        provider.faults.fail("create", ProviderFailed("It is unclear how far it got"), after_effect=True)
        with pytest.raises(ProviderFailed):
            await provider.create(wanted)
        assert [one.name for one in provider.present()] == [wanted.name]

    async def test_a_hanging_call_can_be_released_or_cancelled(self, provider: FakeProvider, spec: MakeSpec) -> None:
        wanted = spec()
        stuck = provider.faults.hang("create", times=2)
        task = asyncio.create_task(provider.create(wanted))
        await stuck.entered.wait()
        assert provider.present() == []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = asyncio.create_task(provider.create(wanted))
        await asyncio.sleep(0)
        stuck.release()
        assert (await task).name == wanted.name


class TestFaults:
    async def test_plans_are_worked_through_in_order(self) -> None:
        faults = Faults()
        stuck = faults.hang("stop")
        faults.fail("stop", ProviderFailed("No"))
        task = asyncio.create_task(faults.reached("stop"))
        await stuck.entered.wait()
        stuck.release()
        with pytest.raises(ProviderFailed):
            await task
        await faults.reached("stop")
        assert faults.count("stop") == 2

    async def test_what_is_planned_for_after_the_effect_waits_for_it(self) -> None:
        faults = Faults()
        faults.fail("stop", ProviderFailed("No"), after_effect=True, times=None)
        for _ in range(3):
            await faults.reached("stop")
            with pytest.raises(ProviderFailed):
                await faults.reached("stop", after=True)
        assert faults.calls == ["stop"] * 3

    async def test_slowness_is_the_clocks(self) -> None:
        faults, clock = Faults(), FakeClock()
        faults.slow("start", 30, clock, times=1)
        task = asyncio.create_task(faults.reached("start"))
        await clock.advance(29)
        assert not task.done()
        await clock.advance(1)
        await task
        await faults.reached("start")

    async def test_clear_forgets_and_lets_go(self) -> None:
        faults = Faults()
        stuck = faults.hang("start")
        faults.fail("stop", ProviderFailed("No"))
        task = asyncio.create_task(faults.reached("start"))
        await stuck.entered.wait()
        faults.clear("start")
        await task
        with pytest.raises(ProviderFailed):
            await faults.reached("stop")
        faults.fail("stop", ProviderFailed("No"))
        faults.clear()
        await faults.reached("stop")


async def test_an_unmade_node_has_the_base_image_and_addresses_count_up() -> None:
    node = FakeNode(name="a")
    assert node.knows("nexus-base")
    assert node.next_address() != node.next_address()
    assert (await FakeProvider(node=node).status()).node == "a"
    assert new_key() != new_key()
