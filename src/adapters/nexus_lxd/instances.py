"""LXD's records of instances, read and written."""

from __future__ import annotations

from typing import Any

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


def limits(spec: InstanceSpec) -> dict[str, str]:
    """The configuration that keeps a workspace within its resources and away from the host."""
    return {
        "limits.cpu": str(spec.resources.cpu),
        "limits.memory": str(spec.resources.memory_bytes),
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
