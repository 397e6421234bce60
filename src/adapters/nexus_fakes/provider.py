"""Containers that exist in memory only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from nexus_core.domain.resources import Resources
from nexus_core.domain.user import PublicKey
from nexus_core.errors import ImageUnavailable, InstanceMissing, ProviderFailed, ProviderUnavailable, UnknownImage
from nexus_core.ports.provider import Instance, InstanceSpec, InstanceState, ProviderStatus, WorkspaceProvider
from nexus_fakes.faults import Faults

_FIRST_ADDRESS = IPv4Address("10.0.0.2")
_FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_ALIVE = frozenset({InstanceState.RUNNING, InstanceState.FROZEN})


@dataclass(slots=True)
class _Container:
    """One instance, whose it is, and what was put into it; ``life`` is another number each time it begins to run."""

    server_id: str
    instance: Instance
    spec: InstanceSpec
    key: PublicKey
    life: int = 0


class FakeNode:
    """A machine that runs containers, and its images. Share it between providers.

    What is on it outlives a provider: give a second one the same node and server id to play a server
    that has been restarted, and another server id to play a neighbour. ``images`` are the local ones,
    ``remotes`` the prefixes of references to remote ones; of those, all can be had but the ones in
    `lost_images`.
    """

    def __init__(
        self,
        *,
        name: str = "fake-1",
        images: Collection[str] = ("nexus-base",),
        remotes: Collection[str] = ("images", "ubuntu"),
    ) -> None:
        self.name = name
        self.images = set(images)
        self.remotes = set(remotes)
        self.lost_images: set[str] = set()
        self.containers: dict[str, _Container] = {}
        self._made = 0
        self._lives = 0

    def knows(self, reference: str) -> bool:
        """Whether the reference is a local image or has the form of a remote one."""
        prefix, colon, name = reference.partition(":")
        return reference in self.images or bool(colon and name and prefix in self.remotes)

    def next_address(self) -> str:
        """An address that nobody had before."""
        self._made += 1
        return str(_FIRST_ADDRESS + self._made)

    def moment(self) -> datetime:
        """When the latest instance was made: a second after the one before."""
        return _FIRST_MOMENT + timedelta(seconds=self._made)

    def power_cut(self) -> None:
        """Let all that runs end at once, without a word, and stay so until somebody starts it."""
        for container in self.containers.values():
            if container.instance.state in _ALIVE:
                container.instance = replace(container.instance, state=InstanceState.STOPPED, cut_off=True)

    def become(self, name: str, state: InstanceState) -> None:
        """Let the instance be in this state, whoever brought it there; raises `KeyError`."""
        container = self.containers[name]
        if state in _ALIVE and container.instance.state not in _ALIVE:
            self._lives += 1
            container.life = self._lives
        container.instance = replace(container.instance, state=state, cut_off=False)


class FakeProvider(WorkspaceProvider):
    """A `WorkspaceProvider` whose instances are records on a `FakeNode`.

    ``available = False`` lets it be away; `halt`, `freeze`, `cut_off` and `vanish` play another's hand,
    `FakeNode.power_cut` that of fate; `faults` does the rest. `present`, `spec`, `authorized_key` and `life`
    look at what is there without being a call.
    """

    def __init__(
        self,
        *,
        server_id: str = "server",
        kind: str = "lxc",
        node: FakeNode | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.available = True
        self.node = node or FakeNode()
        self.faults = faults or Faults()
        self._server_id = server_id
        self._kind = kind
        self._locks: dict[str, asyncio.Lock] = {}

    def present(self) -> list[Instance]:
        """Every instance of this server there is."""
        return [one.instance for one in self.node.containers.values() if one.server_id == self._server_id]

    def spec(self, name: str) -> InstanceSpec:
        """What the instance was made from; raises `KeyError`."""
        return self.node.containers[name].spec

    def authorized_key(self, name: str) -> PublicKey | None:
        """The key that opens the instance, or None if it is absent."""
        container = self._own(name)
        return container.key if container else None

    def halt(self, name: str, state: InstanceState = InstanceState.STOPPED) -> None:
        """Let the instance stop, or break, by itself."""
        self.node.become(name, state)

    def freeze(self, name: str) -> None:
        """Let somebody pause the instance by hand."""
        self.node.become(name, InstanceState.FROZEN)

    def cut_off(self, name: str) -> None:
        """Let the instance have gone down with its machine."""
        container = self.node.containers[name]
        container.instance = replace(container.instance, state=InstanceState.STOPPED, cut_off=True)

    def life(self, name: str) -> int | None:
        """Which life of all that runs inside this is, also while it is paused; None if it does not run."""
        container = self._own(name)
        return container.life if container is not None and container.instance.state in _ALIVE else None

    def vanish(self, name: str) -> None:
        """Let somebody remove the instance by hand."""
        del self.node.containers[name]

    @property
    def kind(self) -> str:
        return self._kind

    async def status(self) -> ProviderStatus:
        if not self.available:
            return ProviderStatus(available=False, node=self.node.name, error="The fake is away")
        return ProviderStatus(available=True, node=self.node.name, version="1.0")

    async def check_image(self, reference: str) -> None:
        await self.faults.reached("check_image")
        if self.available and not self.node.knows(reference):
            raise UnknownImage(f"There is no image {reference!r}", details={"$.image": "unknown"})
        await self.faults.reached("check_image", after=True)

    async def create(self, spec: InstanceSpec) -> Instance:
        async with self._turn(spec.name):
            await self._enter("create")
            if spec.name in self.node.containers and self._own(spec.name) is None:
                raise ProviderFailed(f"There is another container called {spec.name}")
            # As with the real thing, an earlier one is gone also when no new one can be made.
            self.node.containers.pop(spec.name, None)
            if not self.node.knows(spec.image) or spec.image in self.node.lost_images:
                raise ImageUnavailable(f"The image {spec.image!r} cannot be had")
            address = self.node.next_address()
            instance = Instance(
                spec.name, spec.workspace_id, InstanceState.STOPPED, address, created_at=self.node.moment()
            )
            self.node.containers[spec.name] = _Container(self._server_id, instance, spec, spec.authorized_key)
            await self.faults.reached("create", after=True)
            return instance

    async def start(self, name: str) -> Instance:
        async with self._turn(name):
            await self._enter("start")
            container = self._existing(name)
            self.node.become(name, InstanceState.RUNNING)
            await self.faults.reached("start", after=True)
            return container.instance

    async def stop(self, name: str, *, grace: float) -> None:
        async with self._turn(name):
            await self._enter("stop")
            if self._own(name) is not None:
                self.halt(name)
            await self.faults.reached("stop", after=True)

    async def delete(self, name: str) -> None:
        async with self._turn(name):
            await self._enter("delete")
            if self._own(name) is not None:
                self.vanish(name)
            await self.faults.reached("delete", after=True)

    async def authorize(self, name: str, key: PublicKey) -> None:
        async with self._turn(name):
            await self._enter("authorize")
            self._existing(name).key = key
            await self.faults.reached("authorize", after=True)

    async def resize(self, name: str, resources: Resources) -> None:
        async with self._turn(name):
            await self._enter("resize")
            container = self._existing(name)
            container.spec = replace(container.spec, resources=resources)
            await self.faults.reached("resize", after=True)

    async def observe(self, name: str) -> Instance:
        await self._enter("observe")
        container = self._own(name)
        observed = container.instance if container else Instance(name, "", InstanceState.ABSENT)
        await self.faults.reached("observe", after=True)
        return observed

    async def instances(self) -> list[Instance]:
        await self._enter("instances")
        listed = self.present()
        await self.faults.reached("instances", after=True)
        return listed

    def _turn(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _enter(self, method: str) -> None:
        await self.faults.reached(method)
        if not self.available:
            raise ProviderUnavailable("The fake is away")

    def _own(self, name: str) -> _Container | None:
        container = self.node.containers.get(name)
        return container if container and container.server_id == self._server_id else None

    def _existing(self, name: str) -> _Container:
        container = self._own(name)
        if container is None:
            raise InstanceMissing(f"There is no instance {name}")
        return container
