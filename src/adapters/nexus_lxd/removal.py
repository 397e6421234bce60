"""Starting, stopping and removing instances, whatever state they are in."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

from nexus_core.errors import ProviderUnavailable
from nexus_core.ports.provider import InstanceState
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal
from nexus_lxd.instances import find, state_of

_BUSY_FOR = 60  # tries, half a second apart, while LXD is at other work on the instance
_TRIES = 3
_PAUSE = 0.5
_FIRST_ASKING = 2
_START_SECONDS = 180
_STOP_MARGIN = 10  # beyond the grace, for LXD to notice and clean up


async def start(connection: Connection, name: str, record: dict[str, Any]) -> None:
    """Run the instance that LXD described so, or let it go on if it is paused; a running one is fine.

    While LXD is at other work on it, such as starting it by itself after its own restart, that is waited for.
    """
    for attempt in range(_BUSY_FOR):
        if state_of(record) is InstanceState.RUNNING:
            return
        action = "unfreeze" if state_of(record) is InstanceState.FROZEN else "start"
        try:
            await connection.operate("put", "instances", name, "state", json={"action": action}, within=_START_SECONDS)
        except Refusal as refusal:
            if refusal.running:
                return
            if not refusal.busy or attempt == _BUSY_FOR - 1:
                raise
        else:
            return
        await asyncio.sleep(_PAUSE)
        found = await find(connection, name)
        record = record if found is None else found


async def shut_down(connection: Connection, name: str, grace: float) -> bool:
    """Ask the system inside to shut down; whether it did within the grace."""
    seconds = math.ceil(grace)
    first = min(_FIRST_ASKING, seconds)
    # Asked twice: systemd loses a request that comes in the first moments of its boot.
    for timeout in filter(None, (first, seconds - first)):
        action = {"action": "stop", "force": False, "timeout": timeout}
        try:
            await connection.operate("put", "instances", name, "state", json=action, within=timeout + _STOP_MARGIN)
        except Refusal as refusal:
            if refusal.stopped:
                return True
        else:
            return True
    return False


async def hang_up(connection: Connection, name: str) -> None:
    """End the SSH connections from inside, so that clients see them close; failure does not matter.

    Without it the network card is gone before the goodbye is sent, and a client waits for ever.
    """
    command = {"command": ["pkill", "-TERM", "sshd"], "interactive": False, "wait-for-websocket": False}
    with suppress(Refusal, ProviderUnavailable):
        await connection.operate("post", "instances", name, "exec", json=command, within=2, linger=1)


async def force_stop(connection: Connection, name: str) -> None:
    """Kill everything inside; an instance that does not run is fine."""
    for attempt in range(_BUSY_FOR):
        try:
            action = {"action": "stop", "force": True, "timeout": 30}
            await connection.operate("put", "instances", name, "state", json=action, within=60)
        except Refusal as refusal:
            if refusal.stopped or refusal.missing:
                return
            if not refusal.busy or attempt == _BUSY_FOR - 1:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


async def remove(connection: Connection, name: str, record: dict[str, Any]) -> None:
    """Delete the instance that LXD described so, with its disk; tolerates that it goes away meanwhile.

    Tries again while LXD is busy with it, and a few times more for a record that an LXD that was
    killed has left half done.
    """
    failures = 0
    for attempt in range(_BUSY_FOR):
        if record["status"] != "Stopped":
            with suppress(Refusal):  # what really keeps it from going is what the deletion says
                await force_stop(connection, name)
        try:
            await connection.operate("delete", "instances", name, within=120)
        except Refusal as refusal:
            if not (refusal.busy or refusal.running):
                failures += 1
            if failures == _TRIES or attempt == _BUSY_FOR - 1:
                raise
        # LXD's answer to a deletion of what is not there, or no longer, looks like many others.
        found = await find(connection, name)
        if found is None:
            return
        record = found
        await asyncio.sleep(_PAUSE)
