"""LXD's records of instances, read and written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from nexus_core.domain.resources import Resources
from nexus_core.errors import InstanceMissing, InstanceStopped
from nexus_core.ports.provider import Instance, InstanceSpec, InstanceState
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal

# Marks, in the configuration of what we make: whose it is and what for. An instance that lacks the
# mark for its purpose, or carries another server's, is not touched.
SERVER = "user.nexus.server"
WORKSPACE = "user.nexus.workspace"
ITSELF = "user.nexus.uuid"  # the same as LXD's own id of it: a copy that somebody made has another, and is not ours
BUILDER = "user.nexus.builder"
STENCIL = "user.nexus.stencil"  # the fingerprint of the image it stands for; no server's in particular
FINISHED = "user.nexus.stencil-finished"

# Threads count as processes: a browser test suite or a JVM has a few thousand.
PROCESSES = "8192"

LXD_UUID: Final = "volatile.uuid"
# What LXD itself goes by when it comes back after the machine's restart: `RUNNING`, unless the instance was stopped.
_LAST_POWER: Final = "volatile.last_state.power"

_STATES = {
    "Running": InstanceState.RUNNING,
    "Ready": InstanceState.RUNNING,
    "Starting": InstanceState.RUNNING,
    "Stopping": InstanceState.RUNNING,
    "Aborting": InstanceState.RUNNING,
    "Stopped": InstanceState.STOPPED,
    "Frozen": InstanceState.FROZEN,
    "Freezing": InstanceState.FROZEN,
    "Thawed": InstanceState.RUNNING,
}


def state_of(record: dict[str, Any]) -> InstanceState:
    """What an instance is, from LXD's word for it."""
    return _STATES.get(record["status"], InstanceState.BROKEN)


def as_instance(record: dict[str, Any]) -> Instance:
    """LXD's record of an instance in the core's terms."""
    config: dict[str, str] = record["config"]
    state = state_of(record)
    return Instance(
        name=record["name"],
        workspace_id=config.get(WORKSPACE, ""),
        state=InstanceState.BROKEN if state is InstanceState.RUNNING and is_unplugged(record) else state,
        address=_address(record),
        cut_off=seems_cut_off(record),
        # To the second: LXD writes more digits of it than there are in a datetime.
        created_at=datetime.fromisoformat(f"{record['created_at'][:19]}+00:00"),
    )


def is_unplugged(record: dict[str, Any]) -> bool:
    """Whether somebody took its network card or gave that another address: nobody reaches it so, and starting mends it.

    Its system goes by the address that it was made with.
    """
    card: dict[str, str] = record["expanded_devices"].get("eth0", {})
    return _address(record) not in (None, card.get("ipv4.address"))


def _address(record: dict[str, Any]) -> str | None:
    """The address that it was made with."""
    config: dict[str, str] = record["config"]
    return config.get("user.nexus.address", "").partition("/")[0] or None


def seems_cut_off(record: dict[str, Any]) -> bool:
    """Whether it looks as if it had ended without being stopped.

    So does any instance for half a second after it has stopped, until LXD has cleaned up behind it.
    """
    config: dict[str, str] = record["config"]
    return str(record["status"]) == "Stopped" and config.get(_LAST_POWER) == "RUNNING"


def absent(name: str) -> Instance:
    """What is reported where nothing of ours is."""
    return Instance(name, "", InstanceState.ABSENT)


def size(resources: Resources) -> dict[str, str]:
    """The configuration that gives a workspace its cores and memory."""
    return {"limits.cpu": str(resources.cpu), "limits.memory": str(resources.memory_bytes)}


def limits(spec: InstanceSpec) -> dict[str, str]:
    """The configuration that keeps a workspace within its resources and away from the host."""
    return {
        **size(spec.resources),
        "limits.processes": PROCESSES,
        "security.privileged": "false",
        "security.nesting": "false",
        # boot.autostart stays unset: LXD then brings back after its restart what ran before.
    }


async def find(connection: Connection, name: str) -> dict[str, Any] | None:
    """LXD's record of the instance, whoever's it is, or None."""
    try:
        record: dict[str, Any] = await connection.get("instances", name)
    except Refusal as refusal:
        if refusal.missing:
            return None
        raise
    return record


async def find_own(connection: Connection, server_id: str, name: str) -> dict[str, Any] | None:
    """LXD's record of the instance if it carries this server's mark, or None."""
    record = await find(connection, name)
    return record if record is not None and is_own(record, server_id) else None


async def existing(connection: Connection, server_id: str, name: str) -> dict[str, Any]:
    """As `find_own`, but raises `InstanceMissing`."""
    record = await find_own(connection, server_id, name)
    if record is None:
        raise InstanceMissing(f"There is no container {name}")
    return record


def not_running(name: str, record: dict[str, Any]) -> InstanceStopped:
    """What is raised where something is to be done inside an instance that LXD describes so."""
    paused = state_of(record) is InstanceState.FROZEN
    return InstanceStopped(f"The container {name} does not run", why="It is paused." if paused else "")


def is_own(record: dict[str, Any], server_id: str) -> bool:
    """Whether LXD's record of an instance carries this server's mark, and not only as a copy of one that does."""
    config: dict[str, str] = record["config"]
    return config.get(SERVER) == server_id and config.get(ITSELF, config.get(LXD_UUID)) == config.get(LXD_UUID)
