"""What is done inside a workspace besides its services, and with which secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from nexus_core.domain.repository import Credentials
from nexus_core.domain.service import ServiceSpec


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request for a workspace itself named, which no file in the repository changes.

    ``resources`` are the names of those of cpu, memory and disk that it gave; ``services`` says that it gave any.
    """

    setup: tuple[str, ...] = ()
    resources: frozenset[str] = frozenset()
    services: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """The scripts of a workspace: shell texts that run as ``dev`` in the repository, in order.

    ``setup`` runs once, ``post_start`` each time all services are up, ``pre_stop`` before they are stopped.
    ``env`` is there for all of these, for services and for logins. ``credentials`` open the repository, and
    are forgotten once it is cloned.
    """

    setup: tuple[str, ...] = ()
    post_start: tuple[str, ...] = ()
    pre_stop: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    asked: Asked = field(default_factory=Asked)

    @property
    def goes_with_services(self) -> bool:
        """Whether something of it has to be in place when services start, or would if there were any."""
        return bool(self.post_start or self.pre_stop or self.env)


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What a file in the repository says; None for a resource it does not name.

    ``setup`` and ``pre_start`` are both run once, one after the other; a request's own set-up replaces the first.
    ``notes`` tell the owner what of the file is not used, and why.
    """

    source: str
    services: tuple[ServiceSpec, ...] = ()
    setup: tuple[str, ...] = ()
    pre_start: tuple[str, ...] = ()
    post_start: tuple[str, ...] = ()
    pre_stop: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cpu: int | None = None
    memory: str | None = None
    disk: str | None = None
    image: str | None = None
    notes: tuple[str, ...] = ()
