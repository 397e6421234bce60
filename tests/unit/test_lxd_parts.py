"""The LXD adapter's own rules: addresses, and who waits for whom."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from itertools import islice
from typing import Any

import pytest

from nexus_core.ports.provider import InstanceState
from nexus_lxd import lanes as lanes_module
from nexus_lxd.connection import endpoint_url
from nexus_lxd.instances import absent, as_instance, is_own, seems_cut_off, state_of
from nexus_lxd.lanes import Lanes, Once
from nexus_lxd.network import Site, hwaddr

SITE = Site(
    "nexusbr0", IPv4Interface("10.214.0.1/19"), "nexus", ((IPv4Address("10.214.31.1"), IPv4Address("10.214.31.254")),)
)


class TestAddresses:
    def test_they_are_in_the_subnet_and_neither_the_gateway_nor_dhcps(self) -> None:
        for number in range(300):
            address = next(SITE.candidates(f"ws-{number}"))
            assert address in SITE.gateway.network
            assert address not in {SITE.gateway.ip, IPv4Address("10.214.0.0"), IPv4Address("10.214.31.255")}
            assert not IPv4Address("10.214.31.1") <= address <= IPv4Address("10.214.31.254")

    def test_they_are_spread_and_the_same_every_time(self) -> None:
        first = [next(SITE.candidates(f"ws-{number}")) for number in range(300)]
        assert first == [next(SITE.candidates(f"ws-{number}")) for number in range(300)]
        assert len(set(first)) > 280

    def test_a_small_subnet_is_used_up_to_the_last(self) -> None:
        small = Site("b", IPv4Interface("192.168.7.1/29"), "p")
        assert set(small.candidates("ws-1")) == {IPv4Address(f"192.168.7.{last}") for last in range(2, 7)}

    def test_a_subnet_that_dhcp_has_all_of_gives_none(self) -> None:
        ranges = ((IPv4Address("192.168.7.2"), IPv4Address("192.168.7.254")),)
        assert list(islice(Site("b", IPv4Interface("192.168.7.1/24"), "p", ranges).candidates("ws-1"), 1)) == []

    def test_the_mac_goes_with_the_address(self) -> None:
        assert hwaddr(IPv4Address("10.214.0.255")) == "02:6e:0a:d6:00:ff"


def record(status: str = "Stopped", address: str | None = None, **config: str) -> dict[str, Any]:
    """An instance as LXD shows it, with a network card of this address."""
    made = "2026-01-17T10:30:00.123456789Z"
    devices = {"eth0": {"ipv4.address": address}} if address else {}
    return {"name": "a", "status": status, "config": config, "expanded_devices": devices, "created_at": made}


class TestRecords:
    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("Running", InstanceState.RUNNING),
            ("Stopping", InstanceState.RUNNING),
            ("Stopped", InstanceState.STOPPED),
            ("Frozen", InstanceState.FROZEN),
            ("Error", InstanceState.BROKEN),
            ("something new", InstanceState.BROKEN),
        ],
    )
    def test_states(self, status: str, state: InstanceState) -> None:
        assert state_of({"status": status}) is state

    def test_an_address_is_optional(self) -> None:
        assert as_instance(record()).address is None
        assert as_instance(record()).created_at == datetime(2026, 1, 17, 10, 30, tzinfo=UTC)
        assert absent("a").state is InstanceState.ABSENT

    @pytest.mark.parametrize(
        ("status", "card", "expected"),
        [
            ("Running", "10.0.0.9", InstanceState.RUNNING),
            ("Running", "10.0.0.8", InstanceState.BROKEN),
            ("Running", None, InstanceState.BROKEN),
            ("Stopped", None, InstanceState.STOPPED),
            ("Frozen", None, InstanceState.FROZEN),
        ],
    )
    def test_one_that_runs_without_its_own_address_is_broken(
        self, status: str, card: str | None, expected: InstanceState
    ) -> None:
        seen = as_instance(record(status, card, **{"user.nexus.address": "10.0.0.9/24"}))
        assert (seen.state, seen.address) == (expected, "10.0.0.9")

    def test_a_copy_that_somebody_made_is_not_ours(self) -> None:
        marks = {"user.nexus.server": "me", "user.nexus.uuid": "one"}
        assert is_own(record(**marks, **{"volatile.uuid": "one"}), "me")
        assert not is_own(record(**marks, **{"volatile.uuid": "two"}), "me")
        assert not is_own(record(**marks, **{"volatile.uuid": "one"}), "you")
        # Made before there was this mark.
        assert is_own(record(**{"user.nexus.server": "me", "volatile.uuid": "one"}), "me")

    @pytest.mark.parametrize(
        ("status", "last", "expected"),
        [("Stopped", "RUNNING", True), ("Stopped", "STOPPED", False), ("Running", "RUNNING", False)],
    )
    def test_what_was_not_stopped_is_cut_off(self, status: str, last: str, expected: bool) -> None:
        assert seems_cut_off({"status": status, "config": {"volatile.last_state.power": last}}) is expected


class TestEndpoint:
    def test_the_local_socket_is_where_lxd_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LXD_DIR", "/srv/lxd")
        assert endpoint_url(None) == "http+unix://%2Fsrv%2Flxd%2Funix.socket"
        monkeypatch.delenv("LXD_DIR")
        assert endpoint_url(None).endswith("unix.socket")

    def test_addresses_and_paths(self) -> None:
        assert endpoint_url("https://node:8443/") == "https://node:8443"
        assert endpoint_url("unix:/run/a b") == endpoint_url("/run/a b") == "http+unix://%2Frun%2Fa%20b"


class TestLanes:
    async def test_one_lane_is_one_after_another_and_two_are_not(self) -> None:
        lanes, order = Lanes(), list[str]()

        async def work(name: str) -> None:
            order.append(f"{name}+")
            await asyncio.sleep(0)
            order.append(f"{name}-")

        await asyncio.gather(*(lanes.run("a", partial(work, name)) for name in "12"))
        assert order == ["1+", "1-", "2+", "2-"]
        order.clear()
        await asyncio.gather(lanes.run("a", lambda: work("1")), lanes.run("b", lambda: work("2")))
        assert order == ["1+", "2+", "1-", "2-"]

    async def test_the_next_waits_for_work_that_a_cancelled_caller_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lanes_module, "PATIENCE", 0.01)
        lanes, began, may_end, order = Lanes(), asyncio.Event(), asyncio.Event(), list[str]()

        async def stubborn() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                await may_end.wait()
                order.append("first")

        async def second() -> None:
            order.append("second")

        caller = asyncio.create_task(lanes.run("a", stubborn))
        await began.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        following = asyncio.create_task(lanes.run("a", second))
        await asyncio.sleep(0)
        assert order == []
        may_end.set()
        await following
        assert order == ["first", "second"]

    async def test_close_ends_what_is_under_way(self) -> None:
        lanes, began = Lanes(), asyncio.Event()

        async def endless() -> None:
            began.set()
            await asyncio.Event().wait()

        caller = asyncio.create_task(lanes.run("a", endless))
        await began.wait()
        await lanes.close()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await lanes.close()


class TestOnce:
    async def test_many_share_one_and_the_next_begins_anew(self) -> None:
        once, runs = Once[int](), list[int]()

        async def work() -> int:
            runs.append(1)
            await asyncio.sleep(0)
            return len(runs)

        assert await asyncio.gather(*(once.run("a", work) for _ in range(3))) == [1, 1, 1]
        assert await once.run("a", work) == 2

    async def test_it_goes_on_while_anybody_waits_and_ends_when_nobody_does(self) -> None:
        once, may_end, order = Once[None](), asyncio.Event(), list[str]()

        async def work() -> None:
            order.append("begins")
            try:
                await asyncio.Event().wait()
            finally:
                await may_end.wait()
                order.append("ends")

        first, second = (asyncio.create_task(once.run("a", work)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert order == ["begins"]
        second.cancel()
        await asyncio.sleep(0)
        # Asked for again while it is still ending: that comes after.
        third = asyncio.create_task(once.run("a", work))
        await asyncio.sleep(0)
        assert order == ["begins"]
        may_end.set()
        await asyncio.wait([second])
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["begins", "ends", "begins"]
        third.cancel()
        await asyncio.wait([third])

    async def test_a_failure_is_everybodys(self) -> None:
        once = Once[int]()

        async def work() -> int:
            await asyncio.sleep(0)
            raise ValueError

        done = await asyncio.gather(*(once.run("a", work) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in done] == [ValueError] * 2
