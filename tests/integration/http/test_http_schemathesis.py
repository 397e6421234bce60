"""Schemathesis makes requests of the OpenAPI document, right and wrong, and finds every answer described in it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

import served
from nexus_core.domain.host_ports import PortRange
from nexus_core.policy import Policy
from nexus_core.ports.workbench import Workbench
from nexus_core.usecases.watch_events import Told, WatchEvents
from served import ADMIN_TOKEN

EXAMPLES = 8
"""Random cases an operation, beside those that Schemathesis makes of every bound in the document."""


def ending(workbench: Workbench) -> Callable[..., AsyncGenerator[bytes, None]]:
    """Following that comes to an end by itself, for Schemathesis waits for it."""

    async def follow(instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        yield (await workbench.tail(instance, service, lines=lines)).encode()

    return follow


def told_so_far(watch: WatchEvents) -> Callable[..., AsyncGenerator[Told, None]]:
    """The same for events: the first that is told, and no more."""

    async def first(telling: AsyncGenerator[Told, None]) -> AsyncGenerator[Told, None]:
        async with aclosing(telling) as told:
            yield await anext(told)

    return lambda *of, **how: first(watch(*of, **how))


async def test_no_answer_is_against_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(ssh_ports=PortRange(2222, 2999))
    async with served.site(policy) as site, served.listening(site.app) as server:
        site.world.register("alice")  # the owner whom the document's examples name
        monkeypatch.setattr(site.world.workbench, "follow", ending(site.world.workbench))
        monkeypatch.setattr(site.world.nexus, "watch_events", told_so_far(site.world.nexus.watch_events))
        schemathesis = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/schema/openapi.json"),
            *("--checks", "all"),
            # What the document cannot say is refused too: a key that is none, a name that is taken.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--header", f"Authorization: Bearer {ADMIN_TOKEN}"),
            # One worker: Python 3.11's `ast.parse`, which Hypothesis uses, fails now and then on two threads at once.
            *("--workers", "1", "--max-examples", str(EXAMPLES), "--seed", "1", "--generation-deterministic"),
            *("--no-color", "--warnings", "off"),
            cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(schemathesis.communicate(), 300)
    assert schemathesis.returncode == 0, output.decode()
    assert "26 selected / 26 total" in output.decode()
