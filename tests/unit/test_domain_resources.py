"""Sizes with a unit, and the limits of a workspace."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.domain.resources import SIZE, Resources, size_in_bytes
from nexus_core.errors import InvalidRequest

UNITS = {
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}


@given(number=st.integers(1, 10**12 - 1), unit=st.sampled_from(sorted(UNITS)))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert size_in_bytes(f"{number}{unit}") == number * UNITS[unit]


@given(text=st.text() | st.from_regex(r"\A[0-9]{0,14} ?[kKMGTP]?i?[bB]?\Z"))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    # The pattern is published on its own, in the API's schema, and must say the same.
    if re.fullmatch(SIZE, text):
        assert size_in_bytes(text) > 0
        return
    with pytest.raises(InvalidRequest) as refusal:
        size_in_bytes(text, field="$.resources.memory")
    assert list(refusal.value.details) == ["$.resources.memory"]


@pytest.mark.parametrize(
    "text", ["", "4", "GiB", "0GiB", "04GiB", "-4GiB", "4.5GiB", "4 GiB", "4gib", "4GiB\n", "٤GiB"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidRequest):
        size_in_bytes(text)


def test_limits_know_their_bytes() -> None:
    resources = Resources(cpu=2, memory="4GiB", disk="20GB")

    assert resources.memory_bytes == 4 * 1024**3
    assert resources.disk_bytes == 20 * 1000**3


@pytest.mark.parametrize(
    ("cpu", "memory", "disk", "field"),
    [
        (0, "4GiB", "20GiB", "cpu"),
        (-1, "4GiB", "20GiB", "cpu"),
        (513, "4GiB", "20GiB", "cpu"),
        (1, "63MiB", "20GiB", "memory"),
        (1, "1025TiB", "20GiB", "memory"),
        (1, "much", "20GiB", "memory"),
        (1, "4GiB", "63MiB", "disk"),
        (1, "4GiB", "1025TiB", "disk"),
        (1, "4GiB", "", "disk"),
    ],
)
def test_limits_out_of_reach_name_their_field(cpu: int, memory: str, disk: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Resources(cpu=cpu, memory=memory, disk=disk)

    assert list(refusal.value.details) == [f"$.resources.{field}"]


@pytest.mark.parametrize(("cpu", "memory", "disk"), [(1, "64MiB", "64MiB"), (512, "1024TiB", "1024TiB")])
def test_limits_at_the_very_edge_are_taken(cpu: int, memory: str, disk: str) -> None:
    assert Resources(cpu=cpu, memory=memory, disk=disk).cpu == cpu
