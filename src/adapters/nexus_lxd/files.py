"""Putting keys into an instance."""

from __future__ import annotations

import asyncio

from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
USER_UID = 1000  # dev's, in every image that is ready
_TRIES = 4
_PAUSE = 0.2


async def push(
    connection: Connection, name: str, path: str, content: str, *, mode: str, uid: int = 0, folder: bool = False
) -> None:
    """Write a file, or make a folder, inside an instance, running or not.

    Tried again when LXD's file server inside it is gone at that moment, which happens under load and
    around a start or stop.
    """
    headers = {
        "X-LXD-type": "directory" if folder else "file",
        "X-LXD-mode": mode,
        "X-LXD-uid": str(uid),
        "X-LXD-gid": str(uid),
    }
    for attempt in range(1, _TRIES + 1):
        try:
            await connection.send(
                "post", "instances", name, "files", params={"path": path}, data=content.encode(), headers=headers
            )
        except Refusal as refusal:
            if attempt == _TRIES or refusal.missing:
                raise
            await asyncio.sleep(_PAUSE * attempt)
        else:
            return


async def push_authorized_key(connection: Connection, name: str, key: PublicKey) -> None:
    """Let this key and no other log in as ``dev``."""
    await push(connection, name, "/home/dev/.ssh", "", mode="0700", uid=USER_UID, folder=True)
    await push(connection, name, "/home/dev/.ssh/authorized_keys", f"{key.text}\n", mode="0600", uid=USER_UID)


async def push_host_key(connection: Connection, name: str, key: HostKeyPair) -> None:
    """Give the instance its SSH host key: as files, for an instance can read its own configuration."""
    await push(connection, name, HOST_KEY, key.private.rstrip("\n") + "\n", mode="0600")
    await push(connection, name, f"{HOST_KEY}.pub", f"{key.public.text}\n", mode="0644")
