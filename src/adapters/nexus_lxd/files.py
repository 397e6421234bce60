"""Putting files into an instance, its keys before all, and reading them."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
USER_UID = 1000  # dev's, in every image that is ready
_TRIES = 4
_PAUSE = 0.2
_LARGE = 600.0  # seconds, for a file of some hundred megabytes on a slow disk
_READ = 10.0
_LINKS = 8  # that are followed one after another
_UNUSABLE = 422

T = TypeVar("T")


async def push(
    connection: Connection,
    name: str,
    path: str,
    content: str | bytes,
    *,
    mode: str,
    uid: int = 0,
    folder: bool = False,
) -> None:
    """Write a file, or make a folder, inside an instance, running or not."""
    data = content.encode() if isinstance(content, str) else content
    headers = _headers("directory" if folder else "file", mode, uid)
    where = ("instances", name, "files")
    await _persistently(lambda: connection.send("post", *where, params={"path": path}, data=data, headers=headers))


async def push_file(connection: Connection, name: str, path: str, source: str, *, mode: str, uid: int = 0) -> None:
    """Write a file of this host, however large, into an instance, running or not."""
    headers = _headers("file", mode, uid)
    where = ("instances", name, "files")
    await _persistently(
        lambda: connection.upload(*where, params={"path": path}, headers=headers, source=source, within=_LARGE)
    )


async def clear(connection: Connection, name: str, path: str) -> None:
    """Remove a file so that another can take its place, with its own owner and mode; a missing one is fine.

    Nor is anything written through a link then, or into a pipe, which LXD's file server would never come back from.
    """
    try:
        await _persistently(lambda: connection.send("delete", "instances", name, "files", params={"path": path}))
    except Refusal as refusal:
        if not refusal.missing:
            raise


async def pull(connection: Connection, name: str, path: str, *, limit: int) -> bytes | None:
    """A file's content by LXD's file server; None if there is no such file.

    Not to be used while the instance runs: should the file be a pipe, the server would wait for a writer for ever,
    and the instance could neither be stopped nor removed. Raises `Refusal` if it is longer than ``limit`` bytes or
    not a file.
    """
    where = ("instances", name, "files")
    kind, content = "symlink", b""
    for _ in range(_LINKS):
        try:
            asked = partial(connection.content, *where, params={"path": path}, limit=limit, within=_READ)
            kind, content = await _persistently(asked)
        except Refusal as refusal:
            if _is_nowhere(refusal):
                return None
            raise
        if kind != "symlink":
            break
        path = posixpath.join(posixpath.dirname(path), content.decode(errors="surrogateescape"))
    if kind != "file":
        raise Refusal(_UNUSABLE, f"it is a {kind}, not a file")
    return within_limit(content, limit)


def within_limit(content: bytes, limit: int) -> bytes:
    """The content, or `Refusal` if it is longer than that."""
    if len(content) > limit:
        raise Refusal(_UNUSABLE, f"it is longer than {limit} bytes")
    return content


def _headers(kind: str, mode: str, uid: int) -> dict[str, str]:
    return {
        "X-LXD-type": kind,
        "X-LXD-mode": mode,
        "X-LXD-uid": str(uid),
        "X-LXD-gid": str(uid),
    }


def _is_nowhere(refusal: Refusal) -> bool:
    """Whether nothing can be at such a path."""
    return refusal.missing or "not a directory" in refusal.reason.lower()


async def _persistently(work: Callable[[], Awaitable[T]]) -> T:
    """What the work answers, done again when LXD's file server inside is gone at that moment.

    Which happens under load and around a start, stop or removal.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await work()
        except Refusal as refusal:
            if attempt == _TRIES or _is_nowhere(refusal):
                raise
            await asyncio.sleep(_PAUSE * attempt)


async def push_authorized_key(connection: Connection, name: str, key: PublicKey) -> None:
    """Let this key and no other log in as ``dev``."""
    await push(connection, name, "/home/dev/.ssh", "", mode="0700", uid=USER_UID, folder=True)
    await push(connection, name, "/home/dev/.ssh/authorized_keys", f"{key.text}\n", mode="0600", uid=USER_UID)


async def push_host_key(connection: Connection, name: str, key: HostKeyPair) -> None:
    """Give the instance its SSH host key: as files, for an instance can read its own configuration."""
    await push(connection, name, HOST_KEY, key.private.rstrip("\n") + "\n", mode="0600")
    await push(connection, name, f"{HOST_KEY}.pub", f"{key.public.text}\n", mode="0644")
