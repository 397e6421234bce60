"""The collections of records that a `Store` keeps.

All methods are synchronous and short: they are called inside a transaction, on the event loop.
Reads of one record answer None where there is none; uniqueness is the database's to hold, and a
violation is raised as the `Conflict` named at the method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import Operation, OperationKind
from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import Service
from nexus_core.domain.token import ApiToken
from nexus_core.domain.user import User
from nexus_core.domain.workspace import Workspace


class Users(ABC):
    """Registered people."""

    @abstractmethod
    def add(self, user: User) -> None:
        """Raises `UserAlreadyRegistered` for a known name (in any case) or GitHub id, `SshKeyInUse` for a known key."""

    @abstractmethod
    def update(self, user: User) -> None:
        """Store a changed key or e-mail; raises `SshKeyInUse`."""

    @abstractmethod
    def get(self, user_id: str) -> User | None: ...

    @abstractmethod
    def by_name(self, github_username: str) -> User | None:
        """Found without regard to case."""


@dataclass(frozen=True, slots=True)
class WorkspaceFilter:
    """Which workspaces to list; None does not restrict. Deleted ones only if asked for by status."""

    owner_id: str | None = None
    status: Status | None = None


class Workspaces(ABC):
    """Workspaces, deleted ones included until they are purged."""

    @abstractmethod
    def add(self, workspace: Workspace) -> None:
        """Raises `WorkspaceAlreadyExists` (``details.workspace_id``) if the owner has one of that name not deleted."""

    @abstractmethod
    def update(self, workspace: Workspace) -> None:
        """Store every field that can change."""

    @abstractmethod
    def get(self, workspace_id: str) -> Workspace | None: ...

    @abstractmethod
    def by_name(self, owner_id: str, name: str) -> Workspace | None:
        """The owner's workspace of that name which is not deleted."""

    @abstractmethod
    def page(self, which: WorkspaceFilter, *, limit: int, offset: int) -> tuple[Sequence[Workspace], int]:
        """A page of them, newest first, and how many there are in all."""

    @abstractmethod
    def with_status(self, statuses: Collection[Status]) -> Sequence[Workspace]: ...

    @abstractmethod
    def of_owner(self, owner_id: str) -> Sequence[Workspace]:
        """All that are not deleted, newest first."""

    @abstractmethod
    def ids_of_owner(self, owner_id: str) -> Sequence[str]:
        """The ids of all that are not deleted, newest first."""

    @abstractmethod
    def count_by_status(self) -> dict[Status, int]: ...

    @abstractmethod
    def purge_deleted(self, before: datetime) -> int:
        """Forget those deleted before this time, with all that hangs on them; how many they were."""


class Services(ABC):
    """The services of workspaces; they go with the deletion of their workspace."""

    @abstractmethod
    def replace(self, workspace_id: str, services: Sequence[Service]) -> None:
        """Let the workspace have exactly these."""

    @abstractmethod
    def of_workspace(self, workspace_id: str) -> Sequence[Service]:
        """All of the workspace's, in the order in which they were given."""

    @abstractmethod
    def get(self, workspace_id: str, name: str) -> Service | None: ...

    @abstractmethod
    def update(self, service: Service) -> None:
        """Store status, health, ports, last check and error; one that is gone is left alone."""

    @abstractmethod
    def count(self, workspace_ids: Collection[str]) -> dict[str, int]:
        """How many each of these workspaces has; those without any may be left out."""


class Recipes(ABC):
    """What is done inside each workspace. The secrets in it cannot be read from the file without its key."""

    @abstractmethod
    def set(self, workspace_id: str, recipe: Recipe) -> None: ...

    @abstractmethod
    def get(self, workspace_id: str) -> Recipe:
        """The workspace's, or an empty one."""


class Leases(ABC):
    """Host ports and who holds them."""

    @abstractmethod
    def held(self, kind: PortKind) -> frozenset[int]:
        """Every port of the kind that is leased now."""

    @abstractmethod
    def take(self, lease: Lease) -> None:
        """Record the lease; raises `HostPortTaken` if the port is leased already."""

    @abstractmethod
    def release(self, workspace_id: str, now: datetime, *, port: int | None = None) -> Sequence[int]:
        """Give back one port of the workspace, or all; which they were. Nothing held is fine."""

    @abstractmethod
    def of_workspace(self, workspace_id: str) -> Sequence[Lease]:
        """The leases the workspace holds now, lowest port first."""


class Operations(ABC):
    """Work under way and work done. A workspace has at most one operation that is not over."""

    @abstractmethod
    def add(self, operation: Operation) -> None: ...

    @abstractmethod
    def update(self, operation: Operation) -> None:
        """Store status, times and every step."""

    @abstractmethod
    def get(self, operation_id: str) -> Operation | None: ...

    @abstractmethod
    def unfinished(self, workspace_id: str) -> Operation | None: ...

    @abstractmethod
    def latest(self, workspace_id: str) -> Operation | None:
        """The operation under way, or else the last one."""

    @abstractmethod
    def queued(self, kinds: Collection[OperationKind], *, limit: int) -> Sequence[Operation]:
        """The first of those that wait for their turn, oldest first."""

    @abstractmethod
    def queue_position(self, operation_id: str) -> int:
        """The place of a queued operation among all that wait, from 1."""

    @abstractmethod
    def requeue_running(self) -> int:
        """Put every running operation back into the queue, its steps as they are; how many they were.

        For the start of the server: what ran when the last one ended runs again.
        """

    @abstractmethod
    def count_unfinished(self) -> tuple[int, int]:
        """How many are queued, and how many run."""

    @abstractmethod
    def creation_durations(self, provider: str, image: str, *, limit: int) -> Sequence[int]:
        """Milliseconds that the latest successful creations took."""


class Tokens(ABC):
    """API tokens."""

    @abstractmethod
    def add(self, token: ApiToken) -> None: ...

    @abstractmethod
    def by_digest(self, digest: str) -> ApiToken | None: ...

    @abstractmethod
    def of_user(self, user_id: str | None) -> Sequence[ApiToken]:
        """The user's, or the administrator's for None, newest first."""

    @abstractmethod
    def remove(self, token_id: str) -> None: ...

    @abstractmethod
    def used(self, token_id: str, now: datetime) -> None:
        """Note when it was last used."""

    @abstractmethod
    def purge_expired(self, before: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a workspace; ``data`` holds JSON values."""

    workspace_id: str
    kind: str
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent(Event):
    """An event as it was written down: with its number, and the name and owner of its workspace."""

    id: int
    name: str
    owner: str
    owner_id: str


class Events(ABC):
    """What happened, in order; written in the transaction that made it happen.

    Ids grow, have gaps, and are never given out twice. One that can be seen is never joined later by a lower one.
    """

    @abstractmethod
    def add(self, event: Event) -> None: ...

    @abstractmethod
    def after(
        self,
        event_id: int,
        *,
        until: int | None = None,
        workspace_id: str | None = None,
        owner_id: str | None = None,
        limit: int = 500,
    ) -> Sequence[RecordedEvent]:
        """The first of those with a higher id, up to ``until`` if that is given, in order.

        Only the workspace's and only the owner's, where these are given. For an owner all events in
        between are looked through: ``until`` bounds that.
        """

    @abstractmethod
    def newest_id(self) -> int:
        """The highest id that was ever given out, also if it is purged; 0 before the first."""

    @abstractmethod
    def oldest_id(self) -> int | None:
        """The lowest id that is kept, or None if none is."""

    @abstractmethod
    def latest_status(self, workspace_id: str, statuses: Collection[Status]) -> int | None:
        """The id of the last ``status`` event that led the workspace into one of these.

        None where it is not among the last 10,000 of the workspace's that are kept.
        """

    @abstractmethod
    def purge(self, before: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A retried request's name, what it asked, and the workspace that answered it."""

    caller: str
    key: str
    request_digest: str
    workspace_id: str
    created_at: datetime


class IdempotencyKeys(ABC):
    """Requests that may be sent again without being done again."""

    @abstractmethod
    def add(self, key: IdempotencyKey) -> None: ...

    @abstractmethod
    def get(self, caller: str, key: str) -> IdempotencyKey | None: ...

    @abstractmethod
    def purge(self, before: datetime) -> int: ...
