"""The work inside a workspace: its repository, its scripts and its services."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import Health, ServiceSpec


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at something that goes on by itself once begun.

    The same ``id`` again joins what was begun, also when the server was away meanwhile, and learns its outcome;
    another id begins anew. After ``within`` seconds it is ended from inside.
    """

    id: str
    within: float


@dataclass(frozen=True, slots=True)
class Source:
    """What to clone: a repository by its address with what opens it, or a bundle, a file of the host."""

    repository: Repository
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    bundle_path: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """What was checked out; an empty repository has no commit."""

    branch: str | None
    commit: str | None


class Happening(StrEnum):
    """What befalls a service, or the scripts after a start, while services start."""

    STARTING = "starting"  # its command is run, as all it needs is healthy
    HEALTHY = "healthy"
    FAILED = "failed"  # it was not healthy in its time
    ENDED = "ended"  # its command ended by itself; it is tried again after a while unless it succeeded
    SCRIPTS_DONE = "scripts_done"
    SCRIPT_FAILED = "script_failed"


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """Something that happened; ``service`` is empty for scripts. ``exit_code`` comes with `ENDED`."""

    kind: Happening
    service: str = ""
    reason: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a service's health said, and why if it is not well."""

    health: Health
    reason: str | None = None


class Workbench(ABC):
    """Works inside running instances, as the user ``dev`` in ``/home/dev/workspace``.

    What is begun here outlives this process: clones, scripts and services go on without it, and a caller that
    was cancelled has left them going. Every method may raise `ProviderUnavailable`, `ProviderFailed`,
    `InstanceMissing` and `InstanceStopped`. Texts given as commands reach the shell inside unharmed, and nothing else.
    """

    @abstractmethod
    async def clone(self, instance: str, source: Source, run: Run) -> Checkout:
        """Have the repository in place, and tell what was checked out; one that is in place stays as it is.

        Raises `CloneFailed` with git's own reason, and `DeadlineExceeded`. Secrets are in no command line, no
        log and not in the remote's address.
        """

    @abstractmethod
    async def read_files(self, instance: str, paths: Sequence[str]) -> dict[str, str]:
        """The first of these files of the repository that exists, with its text; nothing if none does.

        Raises `InvalidConfig` for one that is not text or longer than 256 KiB.
        """

    @abstractmethod
    async def run_setup(self, instance: str, recipe: Recipe, run: Run) -> None:
        """Run the ``setup`` scripts in order; those that an earlier run has finished are not run again.

        Raises `SetupFailed` naming the script, its exit code and the end of its output, and `DeadlineExceeded`.
        """

    @abstractmethod
    async def install(self, instance: str, services: Sequence[ServiceSpec], recipe: Recipe) -> None:
        """Put the services in place, to be started now and whenever the instance starts; idempotent.

        Each starts when all it depends on are healthy, also while this server is away. What runs and is not
        among them any more, or not as it was, is stopped.
        """

    @abstractmethod
    def start(self, instance: str, run: Run) -> AsyncGenerator[ServiceEvent, None]:
        """Start what does not run, and tell what happens from the beginning of this run on.

        What runs and is healthy already is told as healthy, what did its work and ended as ended. When all are
        up and the scripts that follow have ended well, also where there are none, that is told as well. Does not
        end by itself; closing it leaves everything as it is.
        """

    @abstractmethod
    async def stop(self, instance: str, services: Sequence[str]) -> None:
        """Stop these services until the next `start`; those that do not run are left as they are."""

    @abstractmethod
    async def restart(self, instance: str, service: str) -> None:
        """Stop the service, and begin to start it; what depends on it goes on."""

    @abstractmethod
    async def look(self, instance: str, service: ServiceSpec) -> Look:
        """Look at the service's health once, within its check's timeout.

        ``unknown`` is one without a check whose command did its work and ended well, such as a migration.
        """

    @abstractmethod
    async def tail(self, instance: str, service: str | None, *, lines: int) -> str:
        """The last lines that a service wrote, or for None the log of clone and setup; empty if there are none.

        The latter also of an instance that is stopped.
        """

    @abstractmethod
    def follow(self, instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        """The same, and then what is written from now on, until it is closed or the instance stops."""
