"""Where everything Nexus must remember is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from nexus_core.ports.records import (
    Events,
    IdempotencyKeys,
    Leases,
    Operations,
    Recipes,
    Services,
    Tokens,
    Users,
    Workspaces,
)


@dataclass(frozen=True, slots=True)
class Records:
    """Every collection, seen through one transaction."""

    users: Users
    workspaces: Workspaces
    services: Services
    recipes: Recipes
    leases: Leases
    operations: Operations
    tokens: Tokens
    events: Events
    idempotency_keys: IdempotencyKeys


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store fares, for /status."""

    schema_version: int
    size_bytes: int


class Store(ABC):
    """Keeps records, all or nothing.

    Both contexts are synchronous and must not be held across an ``await``. Errors of the database
    are raised as `DatabaseBusy` (locked, full, read-only: may pass) or `StoreFailed`.
    """

    @property
    @abstractmethod
    def server_id(self) -> str:
        """This server's mark: made with the store and never changed."""

    @property
    @abstractmethod
    def restored_at(self) -> datetime | None:
        """When these records were put in place from a backup: they may know nothing of what is older; else None."""

    @abstractmethod
    def transaction(self, *, wait: bool = True) -> AbstractContextManager[Records]:
        """Read and write; on leaving, all of it is durable, or after an exception none of it happened.

        Not reentrant. What was written before a normal exit survives a crash and a power loss. Raises
        before anything is written where it would not be kept. Another process that writes is waited for
        a fraction of a second, or without ``wait`` not at all.
        """

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Records]:
        """Read only, from one consistent moment; may be used from any thread."""

    @abstractmethod
    def status(self) -> StoreStatus:
        """Figures for people."""

    @abstractmethod
    def check_writable(self) -> None:
        """Return if a write would succeed now; raises as `transaction` would."""

    @abstractmethod
    def verify(self) -> None:
        """Look everything through for damage; takes long and blocks, so call it in a thread of its own.

        Raises `StoreFailed` for damage, and then `transaction` raises the same until another `verify`
        finds none. Raises as `transaction` would where it cannot be looked at.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; idempotent."""
