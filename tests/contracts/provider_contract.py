"""What every `WorkspaceProvider` promises, by ports/provider.py.

A test module of an adapter derives from `ProviderContract` and gives it the fixtures

- ``provider``: one whose instances are removed afterwards,
- ``neighbour``: another server's, on the same machine,
- ``away``: one whose machine does not answer,
- ``image``: the reference of an image to make instances of,

and says in `authorized_keys` how to look inside an instance.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta

import asyncssh
import pytest

from nexus_core.domain.resources import Resources
from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_core.errors import ImageUnavailable, InstanceMissing, ProviderFailed, ProviderUnavailable, UnknownImage
from nexus_core.ports.provider import InstanceSpec, InstanceState, WorkspaceProvider

MakeSpec = Callable[..., InstanceSpec]


def new_host_key() -> HostKeyPair:
    """A real Ed25519 key pair."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = PublicKey(" ".join(key.export_public_key().decode().split()[:2]), key.get_fingerprint())
    return HostKeyPair(key.export_private_key().decode(), public)


def new_key() -> PublicKey:
    """A real Ed25519 public key."""
    return new_host_key().public


def specs_of(image: str) -> MakeSpec:
    """Makes specifications of new, small instances of the image; keyword arguments replace fields."""

    def make(**changes: object) -> InstanceSpec:
        unique = secrets.token_hex(6)
        fields = {
            "name": f"nexus-{unique}",
            "workspace_id": f"ws-{unique}",
            "owner": "alice",
            "hostname": "web",
            "image": image,
            "resources": Resources(cpu=1, memory="512MiB", disk="4GiB"),
            "authorized_key": new_key(),
            "host_key": new_host_key(),
        }
        return InstanceSpec(**{**fields, **changes})  # type: ignore[arg-type]  # fields by their names

    return make


class ProviderContract(ABC):
    """The promises, one test each."""

    @abstractmethod
    async def authorized_keys(self, provider: WorkspaceProvider, name: str) -> list[str]:
        """The keys that open the instance, each as algorithm and base64."""

    @abstractmethod
    async def freeze(self, provider: WorkspaceProvider, name: str) -> None:
        """Pause the running instance, as somebody may by hand."""

    @pytest.fixture
    def spec(self, image: str) -> MakeSpec:
        """Makes specifications of new instances."""
        return specs_of(image)

    # --- who it is ---

    def test_its_kind_is_a_word(self, provider: WorkspaceProvider) -> None:
        assert provider.kind.isalnum()

    async def test_status_names_the_node_and_version(self, provider: WorkspaceProvider) -> None:
        status = await provider.status()
        assert status.available
        assert status.node
        assert status.version
        assert status.error is None

    # --- images ---

    async def test_a_local_image_is_known(self, provider: WorkspaceProvider, image: str) -> None:
        await provider.check_image(image)

    @pytest.mark.parametrize("reference", ["ubuntu:22.04", "images:debian/12"])
    async def test_a_remote_form_is_known_without_a_download(self, provider: WorkspaceProvider, reference: str) -> None:
        began = time.monotonic()
        await provider.check_image(reference)
        assert time.monotonic() - began < 2

    @pytest.mark.parametrize(
        "reference", ["no-such-image", "0123456789ab", "elsewhere:22.04", "ubuntu:", ":22.04", "a/b"]
    )
    async def test_anything_else_is_unknown(self, provider: WorkspaceProvider, reference: str) -> None:
        with pytest.raises(UnknownImage):
            await provider.check_image(reference)

    async def test_creation_from_an_image_that_cannot_be_had_leaves_nothing(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec(image="no-such-image")
        with pytest.raises(ImageUnavailable):
            await provider.create(wanted)
        assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT

    # --- the life of an instance ---

    async def test_create_makes_a_stopped_instance_with_an_address(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec()
        made = await provider.create(wanted)
        assert (made.name, made.workspace_id) == (wanted.name, wanted.workspace_id)
        assert made.state is InstanceState.STOPPED
        assert made.address
        assert await provider.observe(wanted.name) == made
        assert made in await provider.instances()
        assert await self.authorized_keys(provider, wanted.name) == [wanted.authorized_key.text]

    async def test_when_it_was_made_is_told_and_stays(self, provider: WorkspaceProvider, spec: MakeSpec) -> None:
        made = await provider.create(spec())
        assert made.created_at is not None
        assert made.created_at.utcoffset() == timedelta(0)
        assert (await provider.start(made.name)).created_at == made.created_at
        await provider.stop(made.name, grace=0)
        assert (await provider.observe(made.name)).created_at == made.created_at

    async def test_create_again_replaces_an_earlier_one_even_a_running_one(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        first = spec()
        await provider.create(first)
        await provider.start(first.name)
        second = spec(name=first.name, workspace_id=first.workspace_id)
        made = await provider.create(second)
        assert made.state is InstanceState.STOPPED
        assert await provider.observe(first.name) == made
        assert await self.authorized_keys(provider, first.name) == [second.authorized_key.text]

    async def test_instances_have_different_addresses(self, provider: WorkspaceProvider, spec: MakeSpec) -> None:
        made = await asyncio.gather(*(provider.create(spec()) for _ in range(3)))
        assert len({one.address for one in made}) == 3

    async def test_start_runs_it_at_its_address_and_is_idempotent(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec()
        made = await provider.create(wanted)
        started = await provider.start(wanted.name)
        assert started.state is InstanceState.RUNNING
        assert started.address == made.address
        assert await provider.start(wanted.name) == started
        assert await provider.observe(wanted.name) == started

    async def test_start_of_nothing_is_an_error(self, provider: WorkspaceProvider) -> None:
        with pytest.raises(InstanceMissing):
            await provider.start("nexus-nothing")

    @pytest.mark.parametrize("grace", [0.0, 10.0])
    async def test_stop_ends_it_and_it_starts_again_as_it_was(
        self, provider: WorkspaceProvider, spec: MakeSpec, grace: float
    ) -> None:
        wanted = spec()
        await provider.create(wanted)
        started = await provider.start(wanted.name)
        await provider.stop(wanted.name, grace=grace)
        seen = await provider.observe(wanted.name)
        assert (seen.state, seen.cut_off) == (InstanceState.STOPPED, False)
        assert seen in await provider.instances()
        await provider.stop(wanted.name, grace=grace)
        assert await provider.start(wanted.name) == started
        assert await self.authorized_keys(provider, wanted.name) == [wanted.authorized_key.text]

    async def test_stop_of_nothing_is_fine(self, provider: WorkspaceProvider) -> None:
        await provider.stop("nexus-nothing", grace=0)

    @pytest.mark.parametrize("running", [False, True])
    async def test_delete_removes_it_and_is_idempotent(
        self, provider: WorkspaceProvider, spec: MakeSpec, running: bool
    ) -> None:
        wanted = spec()
        await provider.create(wanted)
        if running:
            await provider.start(wanted.name)
        await provider.delete(wanted.name)
        assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT
        assert wanted.name not in {one.name for one in await provider.instances()}
        await provider.delete(wanted.name)

    async def test_one_that_was_paused_is_frozen_until_it_is_started(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec()
        await provider.create(wanted)
        started = await provider.start(wanted.name)
        await self.freeze(provider, wanted.name)
        seen = await provider.observe(wanted.name)
        assert (seen.state, seen.cut_off, seen.address) == (InstanceState.FROZEN, False, started.address)
        assert seen in await provider.instances()
        assert await provider.start(wanted.name) == started
        assert await provider.observe(wanted.name) == started

    @pytest.mark.parametrize("grace", [0.0, 10.0])
    async def test_one_that_was_paused_is_stopped_and_deleted(
        self, provider: WorkspaceProvider, spec: MakeSpec, grace: float
    ) -> None:
        wanted = spec()
        await provider.create(wanted)
        await provider.start(wanted.name)
        await self.freeze(provider, wanted.name)
        await provider.stop(wanted.name, grace=grace)
        assert (await provider.observe(wanted.name)).state is InstanceState.STOPPED
        await provider.start(wanted.name)
        await self.freeze(provider, wanted.name)
        await provider.delete(wanted.name)
        assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT

    async def test_observing_nothing_says_absent(self, provider: WorkspaceProvider) -> None:
        seen = await provider.observe("nexus-nothing")
        assert (seen.name, seen.state, seen.address) == ("nexus-nothing", InstanceState.ABSENT, None)

    # --- limits ---

    @pytest.mark.parametrize("running", [False, True])
    async def test_resize_leaves_it_as_it_is_otherwise(
        self, provider: WorkspaceProvider, spec: MakeSpec, running: bool
    ) -> None:
        wanted = spec()
        await provider.create(wanted)
        if running:
            await provider.start(wanted.name)
        before = await provider.observe(wanted.name)
        for resources in (Resources(cpu=2, memory="768MiB", disk="5GiB"), wanted.resources):
            await provider.resize(wanted.name, resources)
            await provider.resize(wanted.name, resources)
        assert await provider.observe(wanted.name) == before
        assert await self.authorized_keys(provider, wanted.name) == [wanted.authorized_key.text]

    async def test_resize_of_nothing_is_an_error(self, provider: WorkspaceProvider) -> None:
        with pytest.raises(InstanceMissing):
            await provider.resize("nexus-nothing", Resources(cpu=1, memory="512MiB", disk="4GiB"))

    # --- keys ---

    @pytest.mark.parametrize("running", [False, True])
    async def test_authorize_leaves_one_key(self, provider: WorkspaceProvider, spec: MakeSpec, running: bool) -> None:
        wanted = spec()
        await provider.create(wanted)
        if running:
            await provider.start(wanted.name)
        key = new_key()
        await provider.authorize(wanted.name, key)
        await provider.authorize(wanted.name, key)
        assert await self.authorized_keys(provider, wanted.name) == [key.text]

    async def test_authorize_of_nothing_is_an_error(self, provider: WorkspaceProvider) -> None:
        with pytest.raises(InstanceMissing):
            await provider.authorize("nexus-nothing", new_key())

    # --- others' instances ---

    async def test_another_servers_instance_is_not_there(
        self, provider: WorkspaceProvider, neighbour: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        theirs = spec()
        made = await neighbour.create(theirs)
        assert theirs.name not in {one.name for one in await provider.instances()}
        assert (await provider.observe(theirs.name)).state is InstanceState.ABSENT
        await provider.stop(theirs.name, grace=0)
        await provider.delete(theirs.name)
        with pytest.raises(InstanceMissing):
            await provider.start(theirs.name)
        with pytest.raises(InstanceMissing):
            await provider.authorize(theirs.name, new_key())
        with pytest.raises(ProviderFailed):
            await provider.create(spec(name=theirs.name))
        assert await neighbour.observe(theirs.name) == made
        assert await self.authorized_keys(neighbour, theirs.name) == [theirs.authorized_key.text]

    # --- cancellation, and calls at the same time ---

    async def test_a_cancelled_creation_ends_soon_and_can_be_repeated_or_deleted(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec()
        for delay in (0, 0.02, 0.1):
            task = asyncio.create_task(provider.create(wanted))
            await asyncio.sleep(delay)
            task.cancel()
            began = time.monotonic()
            await asyncio.gather(task, return_exceptions=True)
            assert time.monotonic() - began < 10
        made = await provider.create(wanted)
        assert await provider.observe(wanted.name) == made
        task = asyncio.create_task(provider.create(wanted))
        await asyncio.sleep(0.05)
        task.cancel()
        await provider.delete(wanted.name)
        assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT
        await asyncio.gather(task, return_exceptions=True)

    async def test_two_calls_on_one_instance_come_one_after_the_other(
        self, provider: WorkspaceProvider, spec: MakeSpec
    ) -> None:
        wanted = spec()
        await asyncio.gather(provider.create(wanted), provider.create(wanted))
        await asyncio.gather(
            provider.start(wanted.name), provider.start(wanted.name), provider.stop(wanted.name, grace=0)
        )
        assert (await provider.observe(wanted.name)).state is InstanceState.STOPPED
        await asyncio.gather(provider.start(wanted.name), provider.delete(wanted.name), provider.delete(wanted.name))
        assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT

    # --- away ---

    async def test_status_of_one_that_is_away_comes_within_five_seconds(self, away: WorkspaceProvider) -> None:
        began = time.monotonic()
        status = await away.status()
        assert time.monotonic() - began < 5
        assert not status.available
        assert status.node
        assert status.error

    async def test_everything_else_says_that_it_is_away(self, away: WorkspaceProvider, spec: MakeSpec) -> None:
        calls = [
            away.create(spec()),
            away.start("nexus-a"),
            away.stop("nexus-b", grace=1),
            away.delete("nexus-c"),
            away.authorize("nexus-d", new_key()),
            away.observe("nexus-e"),
            away.instances(),
        ]
        for call in calls:
            with pytest.raises(ProviderUnavailable):
                await call

    async def test_an_image_is_let_pass_while_it_is_away(self, away: WorkspaceProvider) -> None:
        await away.check_image("no-such-image")
