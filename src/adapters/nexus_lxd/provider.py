"""Workspaces as LXD containers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from nexus_core.domain.resources import Resources
from nexus_core.domain.user import PublicKey
from nexus_core.errors import ProviderFailed, ProviderUnavailable
from nexus_core.ports.provider import Instance, InstanceSpec, InstanceState, ProviderStatus, WorkspaceProvider
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal, refusals
from nexus_lxd.files import push_authorized_key, push_host_key
from nexus_lxd.images import Images
from nexus_lxd.instances import (
    ITSELF,
    LXD_UUID,
    SERVER,
    WORKSPACE,
    absent,
    as_instance,
    existing,
    find,
    find_own,
    is_own,
    is_unplugged,
    limits,
    seems_cut_off,
    size,
    state_of,
)
from nexus_lxd.interior import LxdInterior
from nexus_lxd.lanes import Lanes
from nexus_lxd.network import Site, is_taken, read_site
from nexus_lxd.removal import force_stop, hang_up, remove, shut_down, start
from nexus_lxd.stencils import NOT_COPIED, Stencils

PUBLIC_IMAGES: Mapping[str, str] = MappingProxyType(
    {
        "ubuntu": "https://cloud-images.ubuntu.com/releases",
        "images": "https://images.lxd.canonical.com",
    }
)

_CREATE_SECONDS = 600
_STATUS_SECONDS = 4.5
_LOOKUP_SECONDS = 2.0
_REPLUGGING = 5.0  # seconds for an instance that nobody reaches to stop politely
_SETTLED_AFTER = 2.0  # seconds; LXD needs half a second to write down that an instance has stopped


class LxdProvider(WorkspaceProvider):
    """Makes workspaces in one project of one LXD server, each a container with a static address.

    ``endpoint`` is the path of LXD's unix socket or an ``https://`` address (None: the local
    socket); HTTPS takes the client's certificate and key, and the server's own certificate to pin.
    ``remotes`` maps prefixes of image references to simplestreams servers. Nothing is opened before
    the first call, and a server that was away is tried again by each call.

    Besides workspaces it keeps in the project one stopped instance for each image in use, the
    "stencil" that new ones are copied from. Servers share it, and whoever deletes it only makes the
    next creation slower.
    """

    def __init__(
        self,
        *,
        server_id: str,
        endpoint: str | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
        server_cert: Path | None = None,
        project: str = "nexus",
        remotes: Mapping[str, str] = PUBLIC_IMAGES,
        workers: int = 16,
    ) -> None:
        self._server_id = server_id
        self._connection = Connection(
            endpoint=endpoint,
            client_cert=client_cert,
            client_key=client_key,
            server_cert=server_cert,
            project=project,
            workers=workers,
        )
        self._images = Images(self._connection, server_id, remotes)
        self._stencils = Stencils(self._connection, project)
        self._lanes = Lanes()
        self._interior = LxdInterior(self._connection, server_id)
        self._site: Site | None = None
        self._node = "lxd"

    @property
    def kind(self) -> str:
        return "lxc"

    @property
    def interior(self) -> LxdInterior:
        """What can be done inside these instances, over the same connection; closed together with this."""
        return self._interior

    async def close(self) -> None:
        """End work under way and close the connections; instances stay as they are."""
        await self._lanes.close()
        self._interior.close()
        await self._connection.close()

    async def status(self) -> ProviderStatus:
        try:
            async with asyncio.timeout(_STATUS_SECONDS):
                server = await self._connection.get(urgent=True, within=_STATUS_SECONDS)
        except TimeoutError:
            return ProviderStatus(False, self._node, error="LXD took the request and did not answer in time.")
        except ProviderUnavailable as error:
            return ProviderStatus(False, self._node, error=error.why)
        except Refusal as refusal:
            return ProviderStatus(False, self._node, error=refusal.reason)
        environment = server["environment"] if server.get("auth") == "trusted" else {}
        if not environment:
            return ProviderStatus(False, self._node, error="LXD does not trust this server's certificate.")
        self._node = environment["server_name"]
        return ProviderStatus(True, self._node, version=environment["server_version"])

    async def check_image(self, reference: str) -> None:
        # Whoever asks for a workspace is not kept waiting: it is accepted, and its creation tells.
        with suppress(ProviderUnavailable, TimeoutError), refusals(f"The image {reference!r} could not be looked up"):
            async with asyncio.timeout(_LOOKUP_SECONDS):
                await self._images.check(reference)

    async def create(self, spec: InstanceSpec) -> Instance:
        return await self._lanes.run(spec.name, partial(self._create, spec))

    async def start(self, name: str) -> Instance:
        return await self._lanes.run(name, partial(self._start, name))

    async def stop(self, name: str, *, grace: float) -> None:
        await self._lanes.run(name, partial(self._stop, name, grace))

    async def delete(self, name: str) -> None:
        await self._lanes.run(name, partial(self._delete, name))

    async def authorize(self, name: str, key: PublicKey) -> None:
        await self._lanes.run(name, partial(self._authorize, name, key))

    async def resize(self, name: str, resources: Resources) -> None:
        await self._lanes.run(name, partial(self._resize, name, resources))

    async def observe(self, name: str) -> Instance:
        with refusals(f"LXD could not say how {name} is"):
            record = await self._own(name)
            if record is not None and seems_cut_off(record):
                await asyncio.sleep(_SETTLED_AFTER)
                record = await self._own(name)
        return absent(name) if record is None else as_instance(record)

    async def instances(self) -> list[Instance]:
        with refusals("LXD could not list its instances"):
            records = await self._list()
            if any(map(seems_cut_off, records)):
                await asyncio.sleep(_SETTLED_AFTER)
                records = await self._list()
        return [as_instance(record) for record in records]

    async def _list(self) -> list[dict[str, Any]]:
        records = await self._connection.get("instances", params={"recursion": "1"})
        return [record for record in records if is_own(record, self._server_id)]

    async def _own(self, name: str) -> dict[str, Any] | None:
        return await find_own(self._connection, self._server_id, name)

    async def _create(self, spec: InstanceSpec) -> Instance:
        with refusals(f"LXD could not create {spec.name}"):
            await self._remove_earlier(spec.name)
            try:
                await self._make(spec)
            except Refusal:
                # What was remembered may no longer be so: image, stencil or network were replaced meanwhile.
                self._forget()
                await self._remove_earlier(spec.name)
                await self._make(spec)
            await push_host_key(self._connection, spec.name, spec.host_key)
            await push_authorized_key(self._connection, spec.name, spec.authorized_key)
            return as_instance(await existing(self._connection, self._server_id, spec.name))

    def _forget(self) -> None:
        self._site = None
        self._images.forget()
        self._stencils.forget()

    async def _remove_earlier(self, name: str) -> None:
        found = await find(self._connection, name)
        if found is None:
            return
        if not is_own(found, self._server_id):
            raise ProviderFailed(
                f"There is another container called {name}",
                why="It does not carry this server's mark, so it is left alone.",
                fix="Rename or remove it in LXD, and start the workspace again.",
            )
        await remove(self._connection, name, found)

    async def _make(self, spec: InstanceSpec) -> None:
        """Make the record and disk of the instance, with an address that is nobody else's."""
        fingerprint = await self._images.ready(spec.image)
        site = self._site = self._site or await read_site(self._connection)
        source = await self._stencils.source(fingerprint, site.pool)
        made = False
        for address in site.candidates(spec.workspace_id):
            place = {
                "config": {**NOT_COPIED, **self._marks(spec), **limits(spec), **site.settings(address)},
                "devices": site.devices(address, disk_bytes=spec.resources.disk_bytes),
            }
            try:
                if made:
                    moved = {"config": site.settings(address), "devices": place["devices"]}
                    await self._connection.send("patch", "instances", spec.name, json=moved)
                else:
                    instance = {"name": spec.name, "profiles": ["default"], "source": source, **place}
                    await self._connection.operate("post", "instances", json=instance, within=_CREATE_SECONDS)
                    made = True
            except Refusal as refusal:
                if not refusal.address_taken:
                    raise
                continue
            # Looked at after the fact, so that of two who chose the same address at once at least one notices.
            if not await is_taken(self._connection, address, but=spec.name):
                return
        raise ProviderFailed(
            f"No address is free for {spec.name}",
            why=f"Each one tried in {site.gateway.network} belongs to another instance.",
            fix="Delete workspaces that are not needed (`nexus ls`), or give the bridge a larger subnet.",
        )

    def _marks(self, spec: InstanceSpec) -> dict[str, str]:
        uuid = str(uuid4())
        return {
            SERVER: self._server_id,
            WORKSPACE: spec.workspace_id,
            ITSELF: uuid,
            LXD_UUID: uuid,
            "user.nexus.hostname": spec.hostname,
        }

    async def _start(self, name: str) -> Instance:
        with refusals(f"LXD could not start {name}"):
            record = await existing(self._connection, self._server_id, name)
            if is_unplugged(record):
                record = await self._plug_in(name, record)
            await start(self._connection, name, record)
        return replace(as_instance(record), state=InstanceState.RUNNING, cut_off=False)

    async def _plug_in(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        """Give the instance its network card back; what is inside finds it at its next start."""
        state = state_of(record)
        went_by_itself = state is InstanceState.RUNNING and await shut_down(self._connection, name, _REPLUGGING)
        if state is not InstanceState.STOPPED and not went_by_itself:
            await force_stop(self._connection, name)
        address = IPv4Address(as_instance(record).address or "")
        site = self._site = self._site or await read_site(self._connection)
        card = {"devices": {"eth0": site.devices(address)["eth0"]}}
        await self._connection.send("patch", "instances", name, json=card)
        return await existing(self._connection, self._server_id, name)

    async def _stop(self, name: str, grace: float) -> None:
        with refusals(f"LXD could not stop {name}"):
            record = await self._own(name)
            if record is None or state_of(record) is InstanceState.STOPPED:
                return
            runs = state_of(record) is InstanceState.RUNNING
            if state_of(record) is InstanceState.FROZEN and grace:
                with suppress(Refusal):  # what is paused hears nobody: then it is stopped by force
                    await start(self._connection, name, record)
                    runs = True
            if runs and await shut_down(self._connection, name, grace):
                return
            if runs:
                await hang_up(self._connection, name)
            await force_stop(self._connection, name)

    async def _delete(self, name: str) -> None:
        with refusals(f"LXD could not delete {name}"):
            record = await self._own(name)
            if record is None:
                return
            if state_of(record) is InstanceState.RUNNING:
                await hang_up(self._connection, name)
            await remove(self._connection, name, record)

    async def _authorize(self, name: str, key: PublicKey) -> None:
        with refusals(f"LXD could not change the key of {name}"):
            await existing(self._connection, self._server_id, name)
            await push_authorized_key(self._connection, name, key)

    async def _resize(self, name: str, resources: Resources) -> None:
        with refusals(f"LXD could not change the limits of {name}"):
            record = await existing(self._connection, self._server_id, name)
            root = {**record["expanded_devices"]["root"], "size": str(resources.disk_bytes)}
            change = {"config": size(resources), "devices": {"root": root}}
            await self._connection.send("patch", "instances", name, json=change)
            if state_of(record) is not InstanceState.STOPPED:
                await self._hand_out_cores(name, resources)

    async def _hand_out_cores(self, name: str, resources: Resources) -> None:
        """Have LXD look once more at how many cores a running instance is to have.

        It does so while it still writes down the new number, and half of the time goes by the old one. What it takes
        for another value, though the same number, makes it look again.
        """
        with suppress(Refusal):  # should LXD not take that spelling, the new number holds from the next start
            for spelling in (f"0{resources.cpu}", f"{resources.cpu}"):
                change = {"config": {"limits.cpu": spelling}}
                await self._connection.send("patch", "instances", name, json=change)
