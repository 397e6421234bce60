"""What every `PortPublisher` promises, by ports/port_publisher.py.

A test module of an adapter derives from `PublisherContract` and gives it a fixture ``stage``.
Whether packets really get through is for the adapter's own tests to show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import pytest

from nexus_core.errors import HostPortTaken
from nexus_core.ports.port_publisher import PortPublisher, Target

HERE: Final = Target("10.1.2.3", 22)
THERE: Final = Target("10.1.2.4", 2200)
ONLY_LOOPBACK: Final = Target("10.1.2.3", 22, on="127.0.0.1")


@dataclass(frozen=True)
class PublisherStage:
    """One host, the servers on it, and ports that nobody uses."""

    publisher: PortPublisher
    restarted: PortPublisher  # of the same server, as after a restart
    other_server: PortPublisher
    listening: Callable[[int], AbstractContextManager[None]]  # another program listens meanwhile
    free: tuple[int, ...]


class PublisherContract:
    """Derive from it and provide ``stage``."""

    async def test_nothing_is_published_at_first(self, stage: PublisherStage) -> None:
        assert await stage.publisher.published() == {}

    async def test_what_is_published_is_reported(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free

        await stage.publisher.publish(one, HERE)
        await stage.publisher.publish(two, THERE)

        assert await stage.publisher.published() == {one: HERE, two: THERE}

    async def test_publishing_again_changes_nothing(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        await stage.publisher.publish(port, HERE)

        await stage.publisher.publish(port, HERE)

        assert await stage.publisher.published() == {port: HERE}

    async def test_a_port_can_be_led_elsewhere(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        await stage.publisher.publish(port, HERE)

        await stage.publisher.publish(port, THERE)

        assert await stage.publisher.published() == {port: THERE}

    async def test_where_a_port_is_published_is_reported_and_can_be_changed(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free
        await stage.publisher.publish(one, ONLY_LOOPBACK)
        await stage.publisher.publish(two, HERE)
        assert await stage.publisher.published() == {one: ONLY_LOOPBACK, two: HERE}

        await stage.publisher.publish(one, HERE)
        await stage.publisher.publish(two, ONLY_LOOPBACK)
        assert await stage.publisher.published() == {one: HERE, two: ONLY_LOOPBACK}

        await stage.publisher.withdraw(two)
        assert await stage.publisher.published() == {one: HERE}

    async def test_a_port_at_one_address_is_taken_for_other_servers(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        await stage.other_server.publish(port, ONLY_LOOPBACK)

        for target in (HERE, ONLY_LOOPBACK):
            with pytest.raises(HostPortTaken):
                await stage.publisher.publish(port, target)

        assert port in await stage.publisher.occupied()
        assert await stage.other_server.published() == {port: ONLY_LOOPBACK}

    async def test_a_port_somebody_listens_on_is_refused(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free
        await stage.publisher.publish(one, HERE)

        with stage.listening(two), pytest.raises(HostPortTaken):
            await stage.publisher.publish(two, THERE)

        assert await stage.publisher.published() == {one: HERE}

    async def test_a_port_is_free_again_when_nobody_listens_any_more(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        with stage.listening(port):
            pass

        await stage.publisher.publish(port, HERE)

        assert await stage.publisher.published() == {port: HERE}

    async def test_another_servers_port_is_refused(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        await stage.other_server.publish(port, HERE)

        with pytest.raises(HostPortTaken):
            await stage.publisher.publish(port, THERE)

        assert await stage.publisher.published() == {}
        assert await stage.other_server.published() == {port: HERE}

    async def test_withdrawn_ports_are_gone(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free
        await stage.publisher.publish(one, HERE)
        await stage.publisher.publish(two, THERE)

        await stage.publisher.withdraw(one)

        assert await stage.publisher.published() == {two: THERE}

    async def test_withdrawing_what_is_not_published_is_fine(self, stage: PublisherStage) -> None:
        port, *_ = stage.free

        await stage.publisher.withdraw(port)
        await stage.publisher.publish(port, HERE)
        await stage.publisher.withdraw(port)
        await stage.publisher.withdraw(port)

        assert await stage.publisher.published() == {}

    async def test_another_servers_port_is_not_withdrawn(self, stage: PublisherStage) -> None:
        port, *_ = stage.free
        await stage.other_server.publish(port, HERE)

        await stage.publisher.withdraw(port)

        assert await stage.other_server.published() == {port: HERE}

    async def test_restore_publishes_exactly_these(self, stage: PublisherStage) -> None:
        one, two, three, *_ = stage.free
        await stage.publisher.publish(one, HERE)
        await stage.publisher.publish(two, HERE)

        await stage.publisher.restore({two: THERE, three: ONLY_LOOPBACK})
        assert await stage.publisher.published() == {two: THERE, three: ONLY_LOOPBACK}

        await stage.publisher.restore({})
        assert await stage.publisher.published() == {}

    async def test_restore_leaves_other_servers_alone(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free
        await stage.other_server.publish(one, HERE)

        await stage.publisher.restore({two: HERE})

        assert await stage.other_server.published() == {one: HERE}

    async def test_publications_outlive_the_publisher(self, stage: PublisherStage) -> None:
        one, two, *_ = stage.free
        await stage.publisher.publish(one, HERE)

        await stage.restarted.publish(two, THERE)

        assert await stage.restarted.published() == {one: HERE, two: THERE}
        await stage.restarted.withdraw(one)
        assert await stage.publisher.published() == {two: THERE}

    async def test_occupied_are_the_ports_of_others_and_not_our_own(self, stage: PublisherStage) -> None:
        own, others, listened, unused = stage.free[:4]
        await stage.publisher.publish(own, HERE)
        await stage.other_server.publish(others, HERE)

        with stage.listening(listened):
            occupied = await stage.publisher.occupied()

        assert occupied & {own, others, listened, unused} == {others, listened}

    async def test_many_at_once_all_get_their_own_answer(self, stage: PublisherStage) -> None:
        taken, moved, withdrawn, *rest = stage.free
        await stage.publisher.publish(moved, HERE)
        await stage.publisher.publish(withdrawn, HERE)

        with stage.listening(taken):
            answers = await asyncio.gather(
                *(stage.publisher.publish(port, HERE) for port in (rest[0], taken)),
                stage.publisher.publish(moved, THERE),
                stage.publisher.withdraw(withdrawn),
                *(stage.publisher.publish(port, HERE) for port in rest[1:]),
                return_exceptions=True,
            )

        assert [type(answer) for answer in answers if answer is not None] == [HostPortTaken]
        assert isinstance(answers[1], HostPortTaken)
        assert await stage.publisher.published() == {**dict.fromkeys(rest, HERE), moved: THERE}
