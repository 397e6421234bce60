"""Uploaded repositories as files of one folder."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from nexus_core.errors import DatabaseBusy
from nexus_core.ports.bundles import Bundles

P = ParamSpec("P")
T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class FolderBundles(Bundles):
    """A `Bundles` of one file to each workspace, in a folder that only its owner can look into.

    The folder is made when first needed. What was being received when the process ended is removed with
    the next that is used, or with the workspace.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def receive(self, workspace_id: str, chunks: AsyncIterator[bytes]) -> int:
        path = self._path(workspace_id)
        # A name of its own: two uploads for one workspace must not write into each other; the later one counts.
        partial = path.with_suffix(f".{secrets.token_hex(4)}.partial")
        received = 0
        file = await _opened(partial)
        try:
            async for chunk in chunks:
                received += len(chunk)
                await _carried_out(file.write, chunk)
            await _carried_out(_settle, file, partial, path)
        finally:
            file.close()
            partial.unlink(missing_ok=True)
        return received

    def path_of(self, workspace_id: str) -> str | None:
        path = self._path(workspace_id)
        return str(path) if path.exists() else None

    def remove(self, workspace_id: str) -> None:
        path = self._path(workspace_id)
        path.unlink(missing_ok=True)
        for partial in self._folder.glob(f"{workspace_id}.*.partial"):
            partial.unlink(missing_ok=True)

    def _path(self, workspace_id: str) -> Path:
        if not _ID.fullmatch(workspace_id):
            raise ValueError(f"{workspace_id!r} is not a workspace's id")
        return self._folder / f"{workspace_id}.bundle"


async def _opened(path: Path) -> BinaryIO:
    def opened() -> BinaryIO:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    return await _carried_out(opened)


def _settle(file: BinaryIO, partial: Path, path: Path) -> None:
    """Let it be on disk for good before it has its name."""
    file.flush()
    os.fsync(file.fileno())
    partial.replace(path)


async def _carried_out(work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """The result of work on the disk, which may take its time over half a gigabyte; raises `DatabaseBusy`."""
    try:
        return await asyncio.to_thread(work, *arguments, **more)
    except OSError as exc:
        raise DatabaseBusy("The repository could not be kept", why=f"The host says: {exc.strerror}.") from exc
