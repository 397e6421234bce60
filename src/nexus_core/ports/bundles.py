"""Git bundles on their way from a person's disk into a workspace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator


class Bundles(ABC):
    """Keeps one uploaded file for each workspace until it is used."""

    @abstractmethod
    async def receive(self, workspace_id: str, chunks: AsyncIterator[bytes]) -> int:
        """Keep what comes in place of an earlier upload, and tell its length in bytes.

        Durable on return. If the chunks end in an exception it is passed on, and nothing has changed.
        Raises `DatabaseBusy` if it cannot be written.
        """

    @abstractmethod
    def path_of(self, workspace_id: str) -> str | None:
        """Where on this host the workspace's bundle is, or None while there is none."""

    @abstractmethod
    def remove(self, workspace_id: str) -> None:
        """Forget the workspace's bundle; none is fine."""
