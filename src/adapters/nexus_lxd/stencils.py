"""Stencils: instances that never run, kept to be copied, by every server that uses the project.

An instance made from an image gives every file to the container's own ids when it first starts,
half a second for a small system. A copy of one that has been through that starts at once, and
shares its blocks on disk.

They have an LXD project of their own beside the workspaces', so that what an administrator sees
there is workspaces and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from nexus_core.errors import NexusError
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal
from nexus_lxd.instances import FINISHED, STENCIL, find
from nexus_lxd.lanes import Once
from nexus_lxd.removal import force_stop, remove

_log = logging.getLogger(__name__)

_SECONDS = 300
_MAKING = timedelta(seconds=60)  # how old a stencil that is not finished may be before it is taken for abandoned
_POLLS = 100
_TRIES = 3
_PAUSE = 0.1
_BUSY = 409

Source = dict[str, Any]


class Stencils:
    """What to make instances of an image from: one stencil to each image, made when first needed."""

    def __init__(self, connection: Connection, project: str) -> None:
        """Keep them beside ``project``; nothing is asked yet."""
        self._project = f"{project}-stencils"
        self._connection = connection.in_project(self._project)
        self._sources: dict[str, Source] = {}
        self._once = Once[Source]()

    async def source(self, fingerprint: str, pool: str) -> Source:
        """The ``source`` of an instance of this image on this storage pool, for LXD.

        Where LXD makes no stencil (a project may forbid it), that is the image itself: slower, and
        otherwise the same.
        """
        if fingerprint not in self._sources:
            self._sources[fingerprint] = await self._once.run(fingerprint, lambda: self._make(fingerprint, pool))
        return self._sources[fingerprint]

    def forget(self) -> None:
        """Look at everything anew: a stencil that was here is gone."""
        self._sources.clear()

    async def _make(self, fingerprint: str, pool: str) -> Source:
        name = f"nexus-stencil-{fingerprint[:12]}"
        copy: Source = {"type": "copy", "source": name, "project": self._project, "instance_only": True}
        why = ""
        await self._make_project()
        if not await self._is_there(name, fingerprint):
            await self._remove_unused()
        for _ in range(_TRIES):
            if await self._is_there(name, fingerprint):
                return copy
            try:
                await self._build(name, fingerprint, pool)
            except Refusal as refusal:
                why = refusal.reason
                if not (refusal.busy or refusal.exists):
                    await self._remove(name, fingerprint)
                    break
                await asyncio.sleep(5 * _PAUSE)  # another server was quicker; its stencil will do
            else:
                return copy
        _log.warning("instances of image %s are made the slow way: %s", fingerprint[:12], why)
        return {"type": "image", "fingerprint": fingerprint}

    async def _is_there(self, name: str, fingerprint: str) -> bool:
        """Whether the stencil is there and finished; one that is being made just now is waited for."""
        while (found := await find(self._connection, name)) is not None:
            if found["config"].get(STENCIL) != fingerprint:
                return False  # somebody's own instance
            if found["config"].get(FINISHED) and found["status"] == "Stopped":
                return True
            if datetime.now(UTC) - datetime.fromisoformat(found["created_at"][:19] + "Z") > _MAKING:
                await self._remove(name, fingerprint)  # of a server that did not get to the end
                return False
            await asyncio.sleep(_PAUSE)
        return False

    async def _remove(self, name: str, fingerprint: str) -> None:
        found = await find(self._connection, name)
        if found is not None and found["config"].get(STENCIL) == fingerprint:
            await remove(self._connection, name, found)

    async def _make_project(self) -> None:
        """Make the project if it is missing; if that is refused, what follows in it says why."""
        with suppress(Refusal):
            await self._connection.get("projects", self._project)
            return
        # Images are the default project's, as they are for workspaces.
        features = {"features.images": "false", "features.profiles": "true", "features.storage.volumes": "true"}
        project = {"name": self._project, "description": "What Nexus copies workspaces from", "config": features}
        with suppress(Refusal):
            await self._connection.send("post", "projects", json=project)

    async def _build(self, name: str, fingerprint: str, pool: str) -> None:
        config = {
            STENCIL: fingerprint,
            # It goes through all of a start and ends there: nothing of the system inside has run.
            "raw.lxc": "lxc.init.cmd = /bin/true",
            "boot.autostart": "false",
        }
        instance = {
            "name": name,
            "profiles": [],
            "config": config,
            "devices": {"root": {"type": "disk", "path": "/", "pool": pool}},
            "source": {"type": "image", "fingerprint": fingerprint},
        }
        await self._connection.operate("post", "instances", json=instance, within=_SECONDS)
        with suppress(Refusal):  # LXD may or may not notice how soon it ended; the files are done by then
            await self._connection.operate("put", "instances", name, "state", json={"action": "start"}, within=_SECONDS)
        finished = {"config": {FINISHED: "1", "raw.lxc": ""}}
        for attempt in range(_POLLS):
            await asyncio.sleep(_PAUSE)
            if (await self._connection.get("instances", name))["status"] != "Stopped":
                if attempt == _POLLS // 2:
                    await force_stop(self._connection, name)
                continue
            try:
                await self._connection.send("patch", "instances", name, json=finished)
            except Refusal as refusal:  # "Stopped" is said before LXD has cleaned up
                if not refusal.busy:
                    raise
            else:
                return
        raise Refusal(_BUSY, f"{name} does not come to rest")

    async def _remove_unused(self) -> None:
        """Remove the stencils of images that are gone, such as an earlier build of the base image."""
        for record in await self._connection.get("instances", params={"recursion": "1"}):
            fingerprint: str | None = record["config"].get(STENCIL)
            if fingerprint is None or not record["config"].get(FINISHED):
                continue
            try:
                await self._connection.get("images", fingerprint)
            except Refusal as refusal:
                if refusal.missing:
                    with suppress(Refusal, NexusError):
                        await self._remove(record["name"], fingerprint)


# A copy takes over its source's configuration; these say what only the stencil is.
NOT_COPIED = {STENCIL: "", FINISHED: "", "raw.lxc": "", "boot.autostart": ""}
