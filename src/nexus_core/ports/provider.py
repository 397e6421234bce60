"""The technology that workspaces run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nexus_core.domain.resources import Resources
from nexus_core.domain.user import HostKeyPair, PublicKey


class InstanceState(StrEnum):
    """What an instance is seen to be."""

    ABSENT = "absent"
    STOPPED = "stopped"
    RUNNING = "running"
    FROZEN = "frozen"  # it was paused: it answers nobody, and starting it lets it go on
    BROKEN = "broken"  # it exists, but can neither be said to run nor be started


@dataclass(frozen=True, slots=True)
class Instance:
    """One container as the provider reports it; ``address`` and ``created_at`` are set whenever they are known.

    ``cut_off`` says of a stopped one that nobody stopped it: the machine or the provider went down while it ran.
    """

    name: str
    workspace_id: str
    state: InstanceState
    address: str | None = None
    cut_off: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """All it takes to make a workspace's container."""

    name: str
    workspace_id: str
    owner: str
    hostname: str
    image: str
    resources: Resources
    authorized_key: PublicKey
    host_key: HostKeyPair = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """Whether the provider answers, and as what."""

    available: bool
    node: str
    version: str | None = None
    error: str | None = None


class WorkspaceProvider(ABC):
    """Makes, runs and removes instances on one node.

    Every method may raise `ProviderUnavailable` (nothing answers: *unknown*, never *gone*) and
    `ProviderFailed` (it answered that it could not). A method that was cancelled has ended its
    work beneath within ten seconds, or left it for the next call on that instance to clean up:
    two calls on one instance never overlap. Only instances that carry this server's mark are
    listed or touched.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name users choose it by: ``lxc``, ``docker``, …"""

    @abstractmethod
    async def status(self) -> ProviderStatus:
        """Whether the provider answers, within five seconds; raises nothing."""

    @abstractmethod
    async def check_image(self, reference: str) -> None:
        """Return if ``reference`` is a local alias or fingerprint, or has the form of a remote one.

        Raises `UnknownImage` otherwise. Never downloads; a remote image that does not exist shows
        in `create`. Returns also when the provider does not answer: then creation decides.
        """

    @abstractmethod
    async def create(self, spec: InstanceSpec) -> Instance:
        """Make the stopped instance, with its limits, its keys in place and this server's mark.

        Idempotent in effect: an earlier, perhaps unfinished instance of that name that carries
        this server's mark is removed first. A remote image is downloaded, and one without an SSH
        server or the user ``dev`` prepared, once. Raises `ImageUnavailable` for an image that
        cannot be had. After a failure nothing is left that `delete` does not remove.
        """

    @abstractmethod
    async def start(self, name: str) -> Instance:
        """Run the instance and report it with its address; a running one is only reported.

        Returns once the provider has started it, which is before its SSH server answers. Raises
        `InstanceMissing` if there is none.
        """

    @abstractmethod
    async def stop(self, name: str, *, grace: float) -> None:
        """Stop the instance: asked politely for ``grace`` seconds, then by force; 0 forces at once.

        Open SSH connections are closed, not left hanging. A stopped or absent instance is left as
        it is.
        """

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove the instance and its disk, running or not; an absent one is fine."""

    @abstractmethod
    async def authorize(self, name: str, key: PublicKey) -> None:
        """Let this key and no other open the instance, running or stopped.

        Takes effect for the next login; sessions that are open stay. Raises `InstanceMissing`.
        """

    @abstractmethod
    async def resize(self, name: str, resources: Resources) -> None:
        """Give the instance these limits from now on, running or not; raises `InstanceMissing`."""

    @abstractmethod
    async def observe(self, name: str) -> Instance:
        """What is there under this name now; ``ABSENT`` if nothing is."""

    @abstractmethod
    async def instances(self) -> list[Instance]:
        """Every instance that carries this server's mark, in no order."""
