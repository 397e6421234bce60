"""Every error knows what it is called and what to do about it."""

from __future__ import annotations

import inspect
from collections import defaultdict

import pytest

from nexus_core import errors
from nexus_core.errors import (
    Failed,
    InternalError,
    Invalid,
    InvalidRequest,
    InvalidSshKey,
    NexusError,
    Unavailable,
)


def family(root: type[NexusError]) -> list[type[NexusError]]:
    return [root, *(each for child in root.__subclasses__() for each in family(child))]


# The core's own: entrypoints add errors to the tree that they alone raise.
EVERY = sorted(
    (kind for kind in set(family(NexusError)) if kind.__module__ == errors.__name__), key=lambda kind: kind.__name__
)
every_error = pytest.mark.parametrize("kind", EVERY)

SHARED = {
    # A branch stands in for the leaf that says no more than the branch does.
    "invalid_request": {Invalid, InvalidRequest},
    "internal_error": {NexusError, Failed, InternalError},
}


@every_error
def test_it_says_what_to_do(kind: type[NexusError]) -> None:
    assert kind.remedy
    assert kind.remedy.endswith((".", "?", "!"))
    assert kind("Something happened").fix == kind.remedy


@every_error
def test_it_says_what_it_is(kind: type[NexusError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ is not NexusError.__doc__ or kind is NexusError


@every_error
def test_its_code_can_be_written_in_a_url(kind: type[NexusError]) -> None:
    assert kind.code
    assert set(kind.code) <= set("abcdefghijklmnopqrstuvwxyz_")


def test_no_two_errors_share_a_code_unless_on_purpose() -> None:
    by_code: dict[str, set[type[NexusError]]] = defaultdict(set)
    for kind in EVERY:
        by_code[kind.code].add(kind)

    assert {code: kinds for code, kinds in by_code.items() if len(kinds) > 1} == SHARED


def test_no_two_leaves_share_a_code() -> None:
    codes = [kind.code for kind in EVERY if not kind.__subclasses__()]

    assert len(set(codes)) == len(codes)


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = inspect.getdoc(errors)

    assert drawn is not None
    assert [kind.__name__ for kind in EVERY if kind.__name__ not in drawn] == []


@pytest.mark.parametrize("kind", [kind for kind in EVERY if issubclass(kind, Unavailable)])
def test_what_may_be_back_says_when(kind: type[Unavailable]) -> None:
    assert kind.retry_after >= 1


def test_what_why_and_fix_make_one_paragraph() -> None:
    error = InvalidSshKey(
        "The text is no key", why="It is blank.", fix="Send a key!", details={"$.ssh_pubkey": "blank"}
    )

    assert error.message == str(error) == "The text is no key. It is blank. Send a key!"
    assert error.details == {"$.ssh_pubkey": "blank"}


def test_what_is_left_out_leaves_no_gap() -> None:
    assert str(InvalidRequest("Is this a request?")) == "Is this a request? Correct the request and send it again."


def test_details_are_the_errors_own() -> None:
    given = {"a": 1}
    error = NexusError("Something happened", details=given)

    given["a"] = 2

    assert error.details == {"a": 1}
    assert NexusError("Something happened").details == {}
