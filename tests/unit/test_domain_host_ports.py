"""Ranges of host ports and the choice from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.domain.host_ports import PortRange
from nexus_core.errors import HostPortsExhausted, InvalidRequest

PORTS = st.integers(1, 65535)
RANGES = st.tuples(PORTS, PORTS).map(lambda pair: PortRange(min(pair), max(pair)))
SMALL_RANGES = st.tuples(PORTS, st.integers(0, 30)).map(lambda pair: PortRange(pair[0], min(pair[0] + pair[1], 65535)))


@given(ports=RANGES)
def test_a_range_reads_what_it_writes(ports: PortRange) -> None:
    assert PortRange.parse(str(ports)) == ports


@given(ports=SMALL_RANGES, other=PORTS)
def test_a_range_has_exactly_the_ports_it_lists(ports: PortRange, other: int) -> None:
    listed = list(ports)

    assert len(ports) == len(listed)
    assert listed[0] == ports.first
    assert listed[-1] == ports.last
    assert all(port in ports for port in listed)
    assert (other in ports) == (other in listed)
    assert str(ports.first) not in ports


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 9), (1, 65536), (-5, 5)])
def test_a_range_that_is_none_is_refused(first: int, last: int) -> None:
    with pytest.raises(InvalidRequest):
        PortRange(first, last)


@pytest.mark.parametrize(
    "text",
    ["", "-", "2222", "2222-", "-2299", "2222 - 2299", "2299-2222", "a-b", "²-³", "٢-٣", "1-2-3", "9" * 5000 + "-1"],
)
def test_text_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        PortRange.parse(text)

    assert len(refusal.value.message) < 300


@given(ports=SMALL_RANGES, data=st.data())
def test_the_lowest_free_port_is_chosen_or_none_is_left(ports: PortRange, data: st.DataObject) -> None:
    some = st.frozensets(st.integers(ports.first - 3, ports.last + 3))
    leased, occupied = data.draw(some), data.draw(some)
    free = [port for port in ports if port not in leased | occupied]

    if free:
        assert ports.lowest_free(leased, occupied) == free[0]
        return
    with pytest.raises(HostPortsExhausted) as refusal:
        ports.lowest_free(leased, occupied)
    assert refusal.value.details == {
        "first": ports.first,
        "last": ports.last,
        "leased": len([port for port in leased if port in ports]),
    }


def test_an_exhausted_range_says_who_holds_it() -> None:
    with pytest.raises(HostPortsExhausted, match=r"All 3 of 2222-2224 are taken \(2 leased"):
        PortRange(2222, 2224).lowest_free({2222, 2223}, {2224})
