"""Stencils: instances that never run, kept to be copied.

An instance made from an image gives every file to the container's own ids when it first starts,
half a second for a small system. A copy of one that has been through that starts at once, and
shares its blocks on disk.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from nexus_core.errors import NexusError
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal
from nexus_lxd.instances import STENCIL, STENCIL_OF, find
from nexus_lxd.lanes import Once
from nexus_lxd.preparation import own_name
from nexus_lxd.removal import force_stop, remove

_log = logging.getLogger(__name__)

_SECONDS = 300
_POLLS = 100
_PAUSE = 0.1
_BUSY = 409

Source = dict[str, Any]


class Stencils:
    """What to make instances of an image from: one stencil to each image, made when first needed."""

    def __init__(self, connection: Connection, server_id: str) -> None:
        self._connection = connection
        self._server_id = server_id
        self._sources: dict[str, Source] = {}
        self._once = Once[Source]()

    async def source(self, fingerprint: str) -> Source:
        """The ``source`` of an instance of this image, for LXD.

        Where LXD makes no stencil (a project may forbid it), that is the image itself: slower, and
        otherwise the same.
        """
        if fingerprint not in self._sources:
            self._sources[fingerprint] = await self._once.run(fingerprint, lambda: self._make(fingerprint))
        return self._sources[fingerprint]

    def forget(self) -> None:
        """Look at everything anew: a stencil that was here is gone."""
        self._sources.clear()

    async def _make(self, fingerprint: str) -> Source:
        name = own_name("stencil", fingerprint, self._server_id)
        copy: Source = {"type": "copy", "source": name, "instance_only": True}
        found = await find(self._connection, name)
        if found is not None and found["config"].get(STENCIL) == self._server_id:
            if found["config"].get(STENCIL_OF) == fingerprint and found["status"] == "Stopped":
                return copy
            await remove(self._connection, name, found)  # of a run that did not get to the end
        await self._remove_unused()
        try:
            await self._build(name, fingerprint)
        except Refusal as refusal:
            _log.warning("instances of image %s are made the slow way: %s", fingerprint[:12], refusal.reason)
            found = await find(self._connection, name)
            if found is not None and found["config"].get(STENCIL) == self._server_id:
                await remove(self._connection, name, found)
            return {"type": "image", "fingerprint": fingerprint}
        return copy

    async def _build(self, name: str, fingerprint: str) -> None:
        config = {
            STENCIL: self._server_id,
            # It goes through all of a start and ends there: nothing of the system inside has run.
            "raw.lxc": "lxc.init.cmd = /bin/true",
            "boot.autostart": "false",
        }
        instance = {
            "name": name,
            "profiles": ["default"],
            "config": config,
            "devices": {"eth0": {"type": "none"}},
            "source": {"type": "image", "fingerprint": fingerprint},
        }
        await self._connection.operate("post", "instances", json=instance, within=_SECONDS)
        with suppress(Refusal):  # LXD may or may not notice how soon it ended; the files are done by then
            await self._connection.operate("put", "instances", name, "state", json={"action": "start"}, within=_SECONDS)
        finished = {"config": {STENCIL_OF: fingerprint, "raw.lxc": ""}}
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
        """Remove this server's stencils of images that are gone, such as an earlier build of the base image."""
        for record in await self._connection.get("instances", params={"recursion": "1"}):
            config: dict[str, str] = record["config"]
            if config.get(STENCIL) != self._server_id or STENCIL_OF not in config:
                continue
            try:
                await self._connection.get("images", config[STENCIL_OF])
            except Refusal as refusal:
                if refusal.missing:
                    with suppress(Refusal, NexusError):
                        await remove(self._connection, record["name"], record)


# A copy takes over its source's configuration; these say what only the stencil is.
NOT_COPIED = {STENCIL: "", STENCIL_OF: "", "raw.lxc": "", "boot.autostart": ""}
