"""A real LXD for end-to-end tests, and the broom that keeps it clean."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pylxd
import pytest
from own_lxd import OwnLxd
from pylxd.client import get_session_for_url
from pylxd.exceptions import LXDAPIException

from nexus_lxd.connection import endpoint_url
from nexus_lxd.instances import BUILDER, SERVER, STENCIL

PROJECT = os.environ.get("NEXUS_TEST_PROJECT", "nexus")
SERVER_ID_PREFIX = "e2e-"


class Lxd:
    """The LXD of this machine as an administrator sees it, in the project for workspaces."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.api = client.api

    def finish(self, response: Any) -> dict[str, Any]:
        """Wait for the operation that was answered, and return its record."""
        operation = response.json()["metadata"]["id"]
        done: dict[str, Any] = self.api.operations[operation].wait.get().json()["metadata"]
        assert done["status_code"] == 200, done["err"]
        return done

    def instances(self) -> list[dict[str, Any]]:
        """Every instance of the project."""
        records: list[dict[str, Any]] = self.api.instances.get(params={"recursion": "1"}).json()["metadata"]
        return records

    def instance(self, name: str) -> dict[str, Any]:
        """One instance, with what it inherits."""
        record: dict[str, Any] = self.api.instances[name].get().json()["metadata"]
        return record

    def read(self, name: str, path: str) -> str:
        """A file inside an instance."""
        text: str = self.api.instances[name].files.get(params={"path": path}, is_api=False).text
        return text

    def images(self) -> list[dict[str, Any]]:
        """Every image the project sees."""
        records: list[dict[str, Any]] = self.api.images.get(params={"recursion": "1"}).json()["metadata"]
        return records

    def alias(self, name: str) -> str:
        """The fingerprint of the image with this alias."""
        target: str = self.api.images.aliases[quote(name, safe="")].get().json()["metadata"]["target"]
        return target

    def remove(self, name: str) -> None:
        """Stop and delete an instance; it does not matter if it is gone."""
        with suppress(LXDAPIException, AssertionError):
            self.finish(self.api.instances[name].state.put(json={"action": "stop", "force": True}))
        with suppress(LXDAPIException):
            self.finish(self.api.instances[name].delete())

    def sweep(self, is_rubbish: Callable[[str], bool], *marks: str) -> None:
        """Remove the instances whose server id, in one of these marks, is rubbish."""
        for record in self.instances():
            if any(mark in record["config"] and is_rubbish(record["config"][mark]) for mark in marks):
                self.remove(record["name"])


def _left_behind(server_id: str) -> bool:
    """Whether this is the id of a test run whose process has ended."""
    process = server_id.removeprefix(SERVER_ID_PREFIX).partition("-")[0]
    return server_id.startswith(SERVER_ID_PREFIX) and process.isdigit() and not Path(f"/proc/{process}").exists()


@pytest.fixture(scope="session")
def lxd() -> Generator[Lxd]:
    """LXD, set up for workspaces; skips without one, or fails if NEXUS_REQUIRE_LXD is set."""
    os.environ.setdefault("PYLXD_WARNINGS", "none")
    url = endpoint_url(None)
    session = get_session_for_url(url)
    try:
        client = pylxd.Client(endpoint=url, session=session, project=PROJECT)
        client.api.profiles["default"].get()
    except Exception as error:
        session.close()
        if os.environ.get("NEXUS_REQUIRE_LXD", "") not in ("", "0"):
            raise
        pytest.skip(f"needs LXD with the project {PROJECT} (`sudo make setup`): {error or type(error).__name__}")
    lxd = Lxd(client)
    marks = (SERVER, BUILDER)
    lxd.sweep(_left_behind, *marks)
    yield lxd
    lxd.sweep(lambda server_id: server_id.startswith(f"{SERVER_ID_PREFIX}{os.getpid()}-"), *marks)
    session.close()


@pytest.fixture(scope="module")
def own_lxd(lxd: Lxd) -> Generator[OwnLxd]:
    """An LXD beside the machine's, to be killed, paused and rebooted."""
    del lxd  # that there is one shows that this machine can run another
    folder = Path(tempfile.mkdtemp(prefix="nxl"))  # short: a socket's path has 107 characters at most
    own = OwnLxd(folder)
    try:
        own.make()
        yield own
    finally:
        own.remove()


@pytest.fixture(scope="session")
def stencils(lxd: Lxd) -> Generator[Lxd]:
    """The project beside it, where the instances are kept that workspaces are copied from."""
    url = endpoint_url(None)
    session = get_session_for_url(url)
    beside = Lxd(pylxd.Client(endpoint=url, session=session, project=f"{PROJECT}-stencils"))
    yield beside
    kept = {image["fingerprint"] for image in lxd.images()}
    beside.sweep(lambda fingerprint: fingerprint not in kept, STENCIL)
    session.close()


@pytest.fixture(scope="session")
def server_id(lxd: Lxd) -> str:
    """A server id of this test run: whatever carries it, or it and a suffix, is removed at the end."""
    del lxd  # which does the removing
    return f"{SERVER_ID_PREFIX}{os.getpid()}-a"
