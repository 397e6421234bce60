"""Whether LXD is there and has what a server needs of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nexus_core.domain.finding import Area, Finding, said
from nexus_core.errors import NexusError, ProviderFailed, ProviderUnavailable
from nexus_core.ports.clock import Clock
from nexus_core.ports.examiner import Examiner
from nexus_lxd.connection import Connection, JsonObject
from nexus_lxd.endpoint import why_silent
from nexus_lxd.errors import Refusal
from nexus_lxd.leftovers import Leftovers
from nexus_lxd.network import read_site
from nexus_lxd.preparation import READY

_AREA: Final = Area("lxd")
_PATIENCE: Final = 4.5
_SETUP: Final = "Run `make setup` as root."
_FEATURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "features.profiles": "true",  # with a default profile of its own
        "features.images": "false",  # so that images are found under the administrator's aliases
        "features.networks": "false",  # the bridge is the default project's
    }
)
_LOW: Final = 0.1
_LEAST: Final = 1024**3
_BRIDGE: Final = "bridge"
_UP: Final = 1  # the flag of an interface that was switched on
_EXPIRY: Final = "ipv4.dhcp.expiry"


class LxdExaminer(Examiner):
    """Looks at the daemon, the project, the default image, the pool and the bridge; mends the bridge and leftovers.

    ``server_id`` is None where it is not known; then no builder is known to be this server's. The
    connection stays its owner's to close.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        server_id: str | None,
        endpoint: str | None,
        bridge: str,
        image: str,
        remotes: Mapping[str, str],
        clock: Clock,
        interfaces: Path = Path("/sys/class/net"),
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._bridge = bridge
        self._image = image
        self._remotes = remotes
        self._interfaces = interfaces
        self._leftovers = Leftovers(connection, server_id, clock, _AREA)

    async def examine(self) -> Sequence[Finding]:
        found: list[Finding] = []
        try:
            found.append(await self._daemon())
            if found[0].fix:
                return found
            async with asyncio.timeout(6 * _PATIENCE):
                found += await self._project()
                found += await self._leftovers.found()
        except ProviderUnavailable as error:
            found.append(_AREA.failure("daemon", said(error), error.fix))
        except TimeoutError:
            found.append(
                _AREA.failure("daemon", "answers, and too slowly to be looked at", "Look at its load and log.")
            )
        except Refusal as refusal:
            found.append(_AREA.failure("daemon", f"refused to be looked at: {refusal.reason}", _SETUP))
        return found

    async def mend(self, finding: Finding) -> Finding:
        try:
            if finding.mend == _BRIDGE:
                return await self._restore_bridge(finding)
            return await self._leftovers.remove(finding)
        except NexusError as error:
            return finding.not_mended(f"could not be mended: {said(error)}", error.fix)
        except Refusal as refusal:
            return finding.not_mended(f"could not be mended: LXD says: {refusal.reason}")

    async def addresses(self) -> frozenset[str] | None:
        """The addresses of every instance in every project, as far as Nexus gave them; None if not all can be known."""
        if not self._connection.is_local:
            return None  # a certificate may be confined to some projects
        try:
            records = await self._connection.get(
                "instances", all_projects=True, params={"recursion": "1"}, within=2 * _PATIENCE
            )
        except (NexusError, Refusal):
            return None
        devices = (device for record in records for device in record["expanded_devices"].values())
        return frozenset(device["ipv4.address"] for device in devices if "ipv4.address" in device)

    async def _daemon(self) -> Finding:
        try:
            async with asyncio.timeout(_PATIENCE):
                server: JsonObject = await self._connection.get(urgent=True, within=_PATIENCE)
        except ProviderUnavailable as error:
            return why_silent(self._endpoint, error, _AREA)
        except TimeoutError:
            fix = (
                "Look at its load and log; a daemon that hangs is ended and started again: workspaces run on meanwhile."
            )
            return _AREA.failure("daemon", f"took the request and did not answer within {_PATIENCE:g} seconds", fix)
        if server.get("auth") != "trusted":
            fix = "Add this server's certificate: `lxc config trust add` on its machine."
            return _AREA.failure("daemon", "does not trust this server's certificate", fix)
        environment = server["environment"]
        return _AREA.ok("daemon", f"LXD {environment['server_version']} answers on {environment['server_name']}")

    async def _project(self) -> list[Finding]:
        name = self._connection.project
        try:
            config: dict[str, str] = (await self._connection.get("projects", name))["config"]
        except Refusal as refusal:
            if not refusal.missing:
                raise
            return [_AREA.failure("project", f"there is no project {name}", _SETUP)]
        wrong = [f"{key}={config.get(key)}" for key, value in _FEATURES.items() if config.get(key, "false") != value]
        if wrong:
            wanted = " ".join(f"{key}={value}" for key, value in _FEATURES.items())
            fix = f"`lxc project set {name} {wanted}` while it is empty, or name another project in the settings."
            return [_AREA.failure("project", f"{name} has {', '.join(wrong)}", fix)]
        found = [_AREA.ok("project", name), await self._default_image()]
        try:
            site = await read_site(self._connection)
        except ProviderFailed as error:
            return [*found, _AREA.failure("profile", said(error), error.fix)]
        return [*found, *await self._pool(site.pool), await self._network(site.network)]

    async def _default_image(self) -> Finding:
        name = self._image
        prefix, colon, _ = name.partition(":")
        try:
            alias: JsonObject = await self._connection.get("images", "aliases", name)
            image: JsonObject = await self._connection.get("images", alias["target"])
        except Refusal as refusal:
            if not refusal.missing:
                raise
            if colon and prefix in self._remotes:
                return _AREA.ok("image", f"{name} is downloaded for the first workspace that names it")
            fix = f"{_SETUP[:-1]}, which builds nexus-base; import any other with `lxc image import … --alias {name}`."
            return _AREA.failure("image", f"there is no image {name}, which workspaces have that name none", fix)
        if image["properties"].get(READY) == "1":
            return _AREA.ok("image", f"{name} ({alias['target'][:12]}) is ready for workspaces")
        says = f"{name} is not made for workspaces: the first that needs it waits while it is prepared"
        return _AREA.warning("image", says, "Nothing needs doing; `make setup` builds one that is ready, nexus-base.")

    async def _pool(self, name: str) -> list[Finding]:
        pool: JsonObject = await self._connection.get("storage-pools", name)
        if pool.get("status") not in ("Created", None):
            fix = f"See `lxc storage info {name}`; a pool that is unavailable comes back with its disk."
            return [_AREA.failure("pool", f"{name} is {str(pool['status']).lower()}", fix)]
        resources: JsonObject = await self._connection.get("storage-pools", name, "resources")
        total, used = (int(resources["space"].get(key, 0)) for key in ("total", "used"))
        says = f"{name} ({pool['driver']}): {_gib(total - used)} of {_gib(total)} GiB free"
        fix = f"Delete workspaces that are not needed, or enlarge the pool: `lxc storage set {name} size …`."
        return [_space("pool", says, total - used, total, fix), *self._disk_below(name, pool)]

    def _disk_below(self, name: str, pool: JsonObject) -> Iterator[Finding]:
        """The disk that the pool's file grows on: a sparse one can be promised more than there is."""
        file = Path(pool.get("config", {}).get("source", ""))
        with suppress(OSError):
            if self._connection.is_local and file.is_file():
                disk = shutil.disk_usage(file.parent)
                says = f"{_gib(disk.free)} GiB are free where the file of {name} grows"
                yield _space("disk below", says, disk.free, disk.total, f"Make room on the disk of {file.parent}.")

    async def _network(self, name: str) -> Finding:
        if name != self._bridge:
            says = f"the project's instances hang on {name}, and the settings say {self._bridge}"
            return _AREA.failure(_BRIDGE, says, f"Set `lxd_bridge` to {name!r}: the ports are published for it.")
        if not self._connection.is_local:
            return _AREA.ok(_BRIDGE, f"{name} is known to LXD")
        trouble = self._bridge_trouble()
        if trouble is None:
            return _AREA.ok(_BRIDGE, f"{name} is up")
        fix = "`nexus doctor --fix` or `make setup` has LXD make it again; so does a restart of LXD."
        return _AREA.failure(_BRIDGE, f"{name} {trouble}: no workspace can be reached", fix, mend=_BRIDGE)

    def _bridge_trouble(self) -> str | None:
        if not self._interfaces.is_dir():
            return None
        try:
            flags = int((self._interfaces / self._bridge / "flags").read_text(encoding="ascii"), 16)
        except OSError:
            return "exists in LXD and not in the kernel"
        return None if flags & _UP else "is switched off"

    async def _restore_bridge(self, finding: Finding) -> Finding:
        """Have LXD make its bridge again, which it does when one of the settings changes."""
        default = self._connection.in_project("default")
        config: dict[str, str] = (await default.get("networks", self._bridge))["config"]
        before = config.get(_EXPIRY, "")
        for expiry in ("2h" if before != "2h" else "3h", before):
            await default.send("patch", "networks", self._bridge, json={"config": {_EXPIRY: expiry}})
        trouble = self._bridge_trouble()
        if trouble is not None:
            return finding.not_mended(f"{self._bridge} {trouble}", "Restart LXD: workspaces run on meanwhile.")
        return finding.mended(f"{self._bridge} is up; workspaces that ran meanwhile need a restart to be on it")


def _space(subject: str, says: str, free: int, total: int, fix: str) -> Finding:
    if free < _LEAST:
        return _AREA.failure(subject, says, fix)
    return _AREA.warning(subject, says, fix) if free < _LOW * total else _AREA.ok(subject, says)


def _gib(count: int) -> str:
    return f"{count / 1024**3:.1f}"
