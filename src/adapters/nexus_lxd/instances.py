"""LXD's records of instances, read and written."""

from __future__ import annotations

from typing import Any

from nexus_core.domain.resources import Resources
from nexus_core.errors import InstanceMissing
from nexus_core.ports.provider import Instance, InstanceSpec, InstanceState
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal

# Marks, in the configuration of what we make: whose it is and what for. An instance that lacks the
# mark for its purpose, or carries another server's, is not touched.
SERVER = "user.nexus.server"
WORKSPACE = "user.nexus.workspace"
BUILDER = "user.nexus.builder"
STENCIL = "user.nexus.stencil"  # the fingerprint of the image it stands for; no server's in particular
FINISHED = "user.nexus.stencil-finished"

# Threads count as processes: a browser test suite or a JVM has a few thousand.
PROCESSES = "8192"

_STATES = {
    "Running": InstanceState.RUNNING,
    "Ready": InstanceState.RUNNING,
    "Starting": InstanceState.RUNNING,
    "Stopping": InstanceState.RUNNING,
    "Aborting": InstanceState.RUNNING,
    "Stopped": InstanceState.STOPPED,
    # Frozen: somebody paused it. It answers nobody, so it does not run; starting it thaws it.
}


def state_of(record: dict[str, Any]) -> InstanceState:
    """What an instance is, from LXD's word for it."""
    return _STATES.get(record["status"], InstanceState.BROKEN)


def as_instance(record: dict[str, Any]) -> Instance:
    """LXD's record of an instance in the core's terms."""
    config: dict[str, str] = record["config"]
    address = config.get("user.nexus.address", "").partition("/")[0]
    return Instance(record["name"], config.get(WORKSPACE, ""), state_of(record), address or None)


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


def is_own(record: dict[str, Any], server_id: str) -> bool:
    """Whether LXD's record of an instance carries this server's mark."""
    config: dict[str, str] = record["config"]
    return config.get(SERVER) == server_id
