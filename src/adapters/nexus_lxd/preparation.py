"""Making an image fit for workspaces: an SSH server, the user ``dev``, a static address."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.resources import files
from typing import Any

from nexus_core.errors import ImageUnavailable, NexusError
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal
from nexus_lxd.files import push
from nexus_lxd.instances import BUILDER, find
from nexus_lxd.network import is_taken, read_site
from nexus_lxd.removal import force_stop, remove

READY = "nexus.ready"  # image property: keeps the promises that build-base-image names
PREPARED_FROM = "nexus.prepared-from"  # image property: the fingerprint of the image it was made of
FROM_SERVER = "nexus.from-server"  # image properties: where that one was downloaded from, and as what
FROM_ALIAS = "nexus.from-alias"

_SCRIPT = "/nexus-prepare"
_LOG = "/nexus-prepare.log"
_BOOT_SECONDS = 120
_SCRIPT_SECONDS = 1200
_PUBLISH_SECONDS = 1200
_TAIL = 300

# Which files an instance of the prepared image gets from its configuration, and from which template.
_TEMPLATES = {
    "/etc/systemd/network/10-eth0.network": ("nexus-eth0.tpl", ["create", "copy", "start"]),
    "/etc/resolv.conf": ("nexus-resolv.tpl", ["create", "copy", "start"]),
    "/etc/hostname": ("nexus-hostname.tpl", ["create", "copy", "start"]),
    "/etc/hosts": ("nexus-hosts.tpl", ["create", "copy", "start"]),
}


async def prepare(connection: Connection, server_id: str, image: dict[str, Any]) -> str:
    """The fingerprint of an image made of this one that is ready for workspaces.

    Starts an instance, installs what is missing, publishes it as a local image and removes the
    instance, also one that an earlier run left behind. Raises `ImageUnavailable` with the end of the
    script's output where the image cannot be made fit.
    """
    source: str = image["fingerprint"]
    prepared = await _prepared(connection, source)
    if prepared is not None:
        return prepared
    if image["type"] != "container":
        raise ImageUnavailable(
            "The image is one of a virtual machine",
            fix="Name an image of the type `container` (`lxc image list`).",
        )
    builder = own_name("image", source, server_id)
    await _remove_leftover(connection, server_id, builder)
    try:
        await _install(connection, server_id, builder, source)
        await _set_templates(connection, builder)
        await force_stop(connection, builder)
        return await _publish(connection, builder, image)
    finally:
        # Whether it fails is not what the caller needs to know: the next run removes it.
        with suppress(NexusError, Refusal):
            await _remove_leftover(connection, server_id, builder)


def own_name(purpose: str, fingerprint: str, server_id: str) -> str:
    """A name for an instance that this server makes for this image, and no other server."""
    return f"nexus-{purpose}-{fingerprint[:12]}-{hashlib.sha256(server_id.encode()).hexdigest()[:8]}"


async def _prepared(connection: Connection, source: str) -> str | None:
    for image in await connection.get("images", params={"recursion": "1"}):
        properties: dict[str, str] = image["properties"]
        if properties.get(PREPARED_FROM) == source and properties.get(READY) == "1":
            return str(image["fingerprint"])
    return None


async def _remove_leftover(connection: Connection, server_id: str, builder: str) -> None:
    found = await find(connection, builder)
    if found is not None and found["config"].get(BUILDER) == server_id:
        await remove(connection, builder, found)


async def _install(connection: Connection, server_id: str, builder: str, source: str) -> None:
    site = await read_site(connection)
    for address in site.candidates(builder):
        if not await is_taken(connection, address, but=builder):
            break
    else:
        raise ImageUnavailable("No address is free to prepare the image with", fix="Delete a workspace (`nexus ls`).")
    config = {
        BUILDER: server_id,
        "boot.autostart": "false",
        # The address is there before anything inside runs: the image may know no way to get one.
        "raw.lxc": (
            f"lxc.net.0.ipv4.address = {address}/{site.gateway.network.prefixlen}\n"
            f"lxc.net.0.ipv4.gateway = {site.gateway.ip}\n"
        ),
        # cloud-init would take uid 1000 for a user of its own.
        "user.user-data": "#cloud-config\nusers: []\nssh_deletekeys: false\npackage_update: false\n",
    }
    instance = {
        "name": builder,
        "profiles": ["default"],
        "config": config,
        "devices": site.devices(address),
        "source": {"type": "image", "fingerprint": source},
    }
    await connection.operate("post", "instances", json=instance, within=_BOOT_SECONDS * 5)
    await connection.operate("put", "instances", builder, "state", json={"action": "start"}, within=_BOOT_SECONDS)
    script = files("nexus_lxd").joinpath("prepare.sh").read_text()
    await push(connection, builder, _SCRIPT, script, mode="0700")
    command = {
        "command": ["/bin/sh", _SCRIPT, str(site.gateway.ip)],
        "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"},
        "interactive": False,
        "wait-for-websocket": False,
    }
    done = await connection.operate("post", "instances", builder, "exec", json=command, within=_SCRIPT_SECONDS)
    if done["metadata"]["return"] != 0:
        log = ""
        with suppress(Refusal):
            log = await connection.text("instances", builder, "files", params={"path": _LOG})
        raise ImageUnavailable(
            "The image could not be prepared for workspaces",
            why=f"Its preparation ended with: {log.strip()[-_TAIL:] or 'no output'}",
            fix="Name an image of Debian, Ubuntu or another system with systemd that has an SSH server,"
            " or prepare one yourself (see scripts/build-base-image).",
        )
    for path in (_SCRIPT, _LOG):
        await connection.send("delete", "instances", builder, "files", params={"path": path})


async def _set_templates(connection: Connection, builder: str) -> None:
    """Replace the image's own templates: they are for cloud-init and for addresses from DHCP."""
    path = ("instances", builder, "metadata")
    metadata = await connection.get(*path)
    for name, _ in _TEMPLATES.values():
        content = files("nexus_lxd").joinpath("templates", name).read_bytes()
        await connection.send("post", *path, "templates", params={"path": name}, data=content)
    metadata["templates"] = {
        target: {"when": when, "create_only": False, "template": name} for target, (name, when) in _TEMPLATES.items()
    }
    await connection.send("put", *path, json=metadata)


async def _publish(connection: Connection, builder: str, image: dict[str, Any]) -> str:
    origin: dict[str, str] = image.get("update_source") or {}
    properties = {
        **image["properties"],
        "description": f"{image['properties'].get('description', image['fingerprint'][:12])}, prepared for Nexus",
        READY: "1",
        PREPARED_FROM: image["fingerprint"],
        **({FROM_SERVER: origin["server"], FROM_ALIAS: origin["alias"]} if origin else {}),
    }
    body = {
        "source": {"type": "instance", "name": builder},
        "properties": properties,
        "compression_algorithm": "zstd",
    }
    # Another server may have been quicker; two prepared images would be a waste, but do no harm.
    prepared = await _prepared(connection, image["fingerprint"])
    if prepared is not None:
        return prepared
    done = await connection.operate("post", "images", json=body, within=_PUBLISH_SECONDS)
    return str(done["metadata"]["fingerprint"])
