"""The fakes keep the promises of their ports, and their own."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from contracts.clock_contract import ClockContract, ClockStage
from contracts.ids_contract import IdsContract
from contracts.probe_contract import ProbeContract, ProbeStage
from contracts.public_keys_contract import PublicKeysContract
from contracts.publisher_contract import HERE, THERE, PublisherContract, PublisherStage
from nexus_core.domain.user import HostKeyPair
from nexus_core.errors import HostKeyMismatch, PublishFailed, SshNotReady
from nexus_core.ports.ids import Ids
from nexus_core.ports.public_keys import PublicKeys
from nexus_fakes import FakeClock, FakeHost, FakeIds, FakeKeys, FakeProbe, FakePublisher, Faults


class TestFakeClock(ClockContract):
    @pytest.fixture
    def stage(self) -> ClockStage:
        clock = FakeClock()
        return ClockStage(clock, clock.advance)

    async def test_sleepers_wake_in_order_of_time_and_loops_keep_their_beat(self) -> None:
        clock = FakeClock()
        began = clock.monotonic()
        woken: list[tuple[int, float]] = []

        async def beat(seconds: int) -> None:
            while True:
                await clock.sleep(seconds)
                woken.append((seconds, clock.monotonic() - began))

        beats = [asyncio.create_task(beat(seconds)) for seconds in (10, 7)]
        await clock.advance(21)

        assert woken == [(7, 7), (10, 10), (7, 14), (10, 20), (7, 21)]
        assert clock.sleepers == 2
        for task in beats:
            task.cancel()
        await clock.settle()
        assert clock.sleepers == 0
        await clock.advance(100)
        assert len(woken) == 5

    async def test_small_pushes_add_up(self) -> None:
        clock = FakeClock()
        sleeping = asyncio.create_task(clock.sleep(1))
        for _ in range(10):
            assert not sleeping.done()
            await clock.advance(0.1)
        assert sleeping.done()

    async def test_a_jump_moves_the_time_of_day_only(self) -> None:
        start = datetime(2030, 1, 1, tzinfo=UTC)
        clock = FakeClock(start)
        sleeping = asyncio.create_task(clock.sleep(1))
        await clock.settle()
        monotonic = clock.monotonic()

        clock.jump(-3600)
        await clock.settle()

        assert clock.now() == start - timedelta(hours=1)
        assert clock.monotonic() == monotonic
        assert not sleeping.done()
        await clock.advance(1)
        await sleeping


class TestFakeIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Ids:
        return FakeIds()

    def test_they_count(self) -> None:
        ids = FakeIds()

        assert [ids.new("ws"), ids.new("ws"), ids.new("op")] == [
            "ws-000000000001",
            "ws-000000000002",
            "op-000000000001",
        ]


class TestFakeKeys(PublicKeysContract):
    @pytest.fixture
    def keys(self) -> PublicKeys:
        return FakeKeys()

    def test_samples_are_foreseeable(self) -> None:
        assert FakeKeys.sample("one") == FakeKeys.sample("one") != FakeKeys.sample("two")
        assert FakeKeys().generate_host_key() == FakeKeys().generate_host_key()


class TestFakePublisher(PublisherContract):
    @pytest.fixture
    def stage(self) -> PublisherStage:
        host = FakeHost()
        publisher = FakePublisher(host=host)

        @contextmanager
        def listening(port: int) -> Generator[None]:
            publisher.listen(port)
            yield
            publisher.stop_listening(port)

        return PublisherStage(
            publisher=publisher,
            restarted=FakePublisher(host=host),
            other_server=FakePublisher(host=host, server_id="other"),
            listening=listening,
            free=tuple(range(2222, 2230)),
        )

    async def test_a_failure_before_the_effect_and_one_after_it(self) -> None:
        publisher = FakePublisher()
        publisher.faults.fail("publish", PublishFailed("No permission"))
        with pytest.raises(PublishFailed):
            await publisher.publish(2222, HERE)
        assert publisher.target(2222) is None

        publisher.faults.fail("publish", PublishFailed("Too slow"), after_effect=True)
        with pytest.raises(PublishFailed):
            await publisher.publish(2222, THERE)
        assert publisher.target(2222) == THERE


class TestFakeProbe(ProbeContract):
    @pytest.fixture
    def stage(self) -> ProbeStage:
        publisher = FakePublisher()
        probe = FakeProbe(publisher)

        async def serve(pair: HostKeyPair) -> int:
            await publisher.publish(2222, HERE)
            probe.prove(2222, pair.public)
            return 2222

        return ProbeStage(probe, FakeKeys(), serve, silent=2223)

    async def test_a_published_port_proves_whatever_is_expected_unless_told_otherwise(self) -> None:
        publisher = FakePublisher()
        probe = FakeProbe(publisher)
        await publisher.publish(2222, HERE)
        one, two = FakeKeys.sample("one"), FakeKeys.sample("two")

        await probe.handshake(2222, one)
        await probe.handshake(2222, two)
        probe.prove(2222, one)
        with pytest.raises(HostKeyMismatch):
            await probe.handshake(2222, two)
        probe.refuse(2222)
        with pytest.raises(SshNotReady):
            await probe.handshake(2222, one)
        probe.relent(2222)
        await probe.handshake(2222, two)

        await publisher.withdraw(2222)
        with pytest.raises(SshNotReady):
            await probe.handshake(2222, one)


async def test_the_example_in_the_docstring() -> None:
    clock, faults = FakeClock(), Faults()
    publisher = FakePublisher(faults=faults)
    probe = FakeProbe(publisher, faults=faults)

    faults.fail("publish", PublishFailed("No permission"))
    with pytest.raises(PublishFailed):
        await publisher.publish(2222, HERE)
    stuck = faults.hang("handshake")
    handshake = asyncio.create_task(probe.handshake(2222, FakeKeys.sample()))
    await stuck.entered.wait()
    await clock.advance(60)
    assert not handshake.done()
    stuck.release()
    with pytest.raises(SshNotReady):
        await handshake

    assert faults.calls == ["publish", "handshake"]
