"""Finding the image that a reference means, downloading and preparing it where needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from nexus_core.errors import ImageUnavailable, UnknownImage
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal, refusals
from nexus_lxd.lanes import Once
from nexus_lxd.preparation import FROM_ALIAS, FROM_SERVER, READY, prepare

_FINGERPRINT = re.compile(r"[0-9a-f]{12,64}")
_DOWNLOAD_SECONDS = 3600


class Images:
    """The images of one LXD server, and the public servers that more can be had from.

    ``remotes`` maps the part of a reference before the colon to a simplestreams server. A local
    alias of the whole reference wins, also where it has a colon.
    """

    def __init__(self, connection: Connection, server_id: str, remotes: Mapping[str, str]) -> None:
        self._connection = connection
        self._server_id = server_id
        self._remotes = dict(remotes)
        self._ready: dict[str, str] = {}  # by fingerprint, what to use in its place: often itself
        self._once = Once[str]()

    async def check(self, reference: str) -> None:
        """Raise `UnknownImage` unless the reference is a local image or has the form of a remote one."""
        if await self._local(reference) is None and self._remote(reference) is None:
            raise UnknownImage(
                f"There is no image {reference!r}",
                why=f"It is no local alias or fingerprint, and does not begin with {self._prefixes()}.",
            )

    async def ready(self, reference: str) -> str:
        """The fingerprint of the image to start from; raises `ImageUnavailable` if it cannot be had.

        What is not here is downloaded, and what is not made for workspaces prepared, once, also when
        many ask for it at the same time.
        """
        with refusals(f"The image {reference!r} cannot be used", ImageUnavailable):
            fingerprint = await self._local(reference)
            if fingerprint is None:
                fingerprint = await self._download(reference)
            if fingerprint not in self._ready:
                image = await self._connection.get("images", fingerprint)
                if image["properties"].get(READY) == "1":
                    self._ready[fingerprint] = fingerprint
                else:
                    work = partial(prepare, self._connection, self._server_id, image)
                    self._ready[fingerprint] = await self._once.run(f"prepare {fingerprint}", work)
            return self._ready[fingerprint]

    def forget(self) -> None:
        """Look at everything anew: an image that was here is gone."""
        self._ready.clear()

    async def _local(self, reference: str) -> str | None:
        """The fingerprint of the local image with this alias, or else with this beginning of a fingerprint."""
        try:
            target: str = (await self._connection.get("images", "aliases", reference))["target"]
        except Refusal as refusal:
            if not refusal.missing:
                raise
        else:
            return target
        if not _FINGERPRINT.fullmatch(reference):
            return None
        try:
            fingerprint: str = (await self._connection.get("images", reference))["fingerprint"]
        except Refusal:  # none, or more than one
            return None
        return fingerprint

    def _remote(self, reference: str) -> tuple[str, str] | None:
        """The server and the name there that a remote reference means."""
        prefix, colon, name = reference.partition(":")
        server = self._remotes.get(prefix)
        return (server, name) if colon and name and server else None

    async def _download(self, reference: str) -> str:
        remote = self._remote(reference)
        if remote is None:
            raise ImageUnavailable(
                f"There is no image {reference!r} any more",
                fix=f"Import it again under that alias, or create the workspace from another ({self._prefixes()}).",
            )
        server, name = remote
        source = {"type": "image", "mode": "pull", "protocol": "simplestreams", "server": server, "alias": name}
        for image in await self._connection.get("images", params={"recursion": "1"}):
            origin: dict[str, str] = image.get("update_source") or {}
            properties: dict[str, str] = image["properties"]
            if (server, name) in (
                (origin.get("server"), origin.get("alias")),
                (properties.get(FROM_SERVER), properties.get(FROM_ALIAS)),  # the original may be deleted since
            ):
                return str(image["fingerprint"])
        return await self._once.run(f"download {reference}", partial(self._pull, reference, source))

    async def _pull(self, reference: str, source: dict[str, str]) -> str:
        with refusals(f"The image {reference!r} could not be downloaded", ImageUnavailable):
            # Not kept up to date: a workspace's image must not change, and be prepared anew, by itself.
            operation: dict[str, Any] = await self._connection.operate(
                "post", "images", json={"source": source, "auto_update": False}, within=_DOWNLOAD_SECONDS
            )
        return str(operation["metadata"]["fingerprint"])

    def _prefixes(self) -> str:
        return " or ".join(f"{prefix}:" for prefix in sorted(self._remotes)) or "the prefix of an image server"
