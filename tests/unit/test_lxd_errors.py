"""Every exception a library beneath the LXD adapter can raise has a meaning to Nexus."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

import pylxd.exceptions
import pytest
import requests
import requests.exceptions
import urllib3.exceptions
import ws4py.exc

from nexus_core.errors import ImageUnavailable, ProviderFailed, ProviderUnavailable
from nexus_lxd.errors import LIBRARY_ERRORS, Refusal, refusals, refused, translated, without_paths


def exceptions_of(*modules: ModuleType) -> Iterator[type[Exception]]:
    """The exceptions that these modules define, without warnings and what they import."""
    for module in modules:
        package = module.__name__.partition(".")[0]
        for value in vars(module).values():
            if not (inspect.isclass(value) and issubclass(value, Exception)) or issubclass(value, Warning):
                continue
            if value.__module__.startswith(package):
                yield value


EVERY_ONE = sorted(set(exceptions_of(pylxd.exceptions, requests.exceptions, urllib3.exceptions, ws4py.exc)), key=str)


def answer(status: int, body: str) -> requests.Response:
    """What LXD answered."""
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    return response


@pytest.mark.parametrize("kind", EVERY_ONE, ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_no_library_exception_is_left_unmapped(kind: type[Exception]) -> None:
    assert issubclass(kind, LIBRARY_ERRORS)
    error: Exception
    if issubclass(kind, pylxd.exceptions.LXDAPIException):
        error = kind(answer(500, '{"error": "No"}'))
    else:
        error = cast("Any", kind).__new__(kind)  # their constructors all differ
    meaning = translated(error)
    assert isinstance(meaning, Refusal | ProviderUnavailable)
    if isinstance(meaning, ProviderUnavailable):
        assert "Traceback" not in meaning.message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.exceptions.ReadTimeout("x"), "in time"),
        (requests.exceptions.ConnectionError("/var/lib/lxd/unix.socket"), "refused"),
        (FileNotFoundError("/root/client.crt"), "certificate"),
        (ConnectionResetError(), "broke off"),
        (pylxd.exceptions.ClientConnectionFailed("x"), "refused"),
        (pylxd.exceptions.LXDAPIException(answer(403, '{"error": "not authorized"}')), "trust"),
        (pylxd.exceptions.LXDAPIException(answer(503, "<html>")), "starting"),
        (pylxd.exceptions.LXDAPIException(answer(500, '{"error": "LXD is shutting down"}')), "starting"),
    ],
)
def test_what_cannot_be_asked_is_away(error: Exception, words: str) -> None:
    meaning = translated(error)
    assert isinstance(meaning, ProviderUnavailable)
    assert words in meaning.why
    assert "/root" not in meaning.message
    assert "/var" not in meaning.message


def test_an_answer_keeps_lxds_reason_without_the_hosts_paths() -> None:
    body = '{"error": "Failed to run: /usr/bin/lxd forkstart /var/lib/lxd/x: exit 1 (see https://a.example/b/c)"}'
    meaning = translated(pylxd.exceptions.LXDAPIException(answer(400, body)))
    assert isinstance(meaning, Refusal)
    assert meaning.reason == "Failed to run: … forkstart … exit 1 (see https://a.example/b/c)"
    assert without_paths("x" * 2000) == "x" * 500


def test_an_answer_that_is_not_json_is_a_refusal() -> None:
    assert isinstance(translated(requests.exceptions.JSONDecodeError("x", "", 0)), Refusal)


@pytest.mark.parametrize(
    ("reason", "flag"),
    [
        ('Instance is busy running a "stop" operation', "busy"),
        ("Instance not found", "missing"),
        ("The instance is already stopped", "stopped"),
        ("The instance is already running", "running"),
        ('IP address "10.0.0.1" already defined on another NIC', "address_taken"),
    ],
)
def test_what_a_refusal_is_about(reason: str, flag: str) -> None:
    refusal = refused(400, reason)
    flags = {name for name in ("busy", "missing", "stopped", "running", "address_taken") if getattr(refusal, name)}
    assert flags == {flag}


def test_a_grace_that_ran_out_is_no_daemon_that_goes_away() -> None:
    reason = 'Failed shutting down instance, status is "Running": context deadline exceeded'
    assert isinstance(refused(400, reason), Refusal)


def test_refusals_say_what_was_attempted_and_why_it_failed() -> None:
    words = r"could not start web. LXD's reason: No\."
    with pytest.raises(ProviderFailed, match=words) as caught, refusals("LXD could not start web"):
        raise Refusal(400, "No")
    assert isinstance(caught.value.__cause__, Refusal)
    with pytest.raises(ImageUnavailable, match="none given"), refusals("No image", ImageUnavailable):
        raise Refusal(404, "")
