"""What clients are answered about workspaces, but for the workspace itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from nexus_core.domain.lifecycle import Status
from nexus_core.usecases.create_workspace import Accepted
from nexus_core.usecases.show_workspace import Listed
from nexus_http.wire.fields import Count, HostPort, moment, polling_url


class WorkspaceAccepted(Struct, frozen=True):
    """A workspace on its way; ``status`` is ``creating``, or ``pending`` while others are before it.

    A retried request is answered with the first one's workspace as it is by then.
    """

    workspace_id: str
    name: str
    owner: str
    status: Status
    ssh_port: HostPort | None
    polling_url: str
    estimated_time_seconds: Annotated[int, Meta(ge=1)]
    created_at: datetime

    @classmethod
    def of(cls, accepted: Accepted) -> WorkspaceAccepted:
        """The answer to a creation."""
        one = accepted.workspace
        return cls(
            workspace_id=one.id,
            name=one.name,
            owner=one.owner,
            status=one.status,
            ssh_port=one.ssh_port,
            polling_url=polling_url(one.id),
            estimated_time_seconds=accepted.estimated_seconds,
            created_at=moment(one.created_at),
        )


class WorkspaceStarting(Struct, frozen=True):
    """A workspace on its way to ``running``."""

    workspace_id: str
    status: Status
    polling_url: str


class WorkspaceStopped(Struct, frozen=True):
    """A workspace that has stopped."""

    workspace_id: str
    status: Status
    stopped_at: datetime | None


class WorkspaceLine(Struct, frozen=True):
    """A workspace in a list."""

    workspace_id: str
    name: str
    owner: str
    status: Status
    provider: str
    ssh_port: HostPort | None
    created_at: datetime
    services_count: Count


class Workspaces(Struct, frozen=True):
    """A page of workspaces, newest first; ``total`` counts all that match."""

    workspaces: tuple[WorkspaceLine, ...]
    total: Count
    limit: int
    offset: int

    @classmethod
    def of(cls, page: Iterable[Listed], total: int, limit: int, offset: int) -> Workspaces:
        """The page as the API lists it."""
        lines = tuple(
            WorkspaceLine(
                one.workspace.id,
                one.workspace.name,
                one.workspace.owner,
                one.workspace.status,
                one.workspace.provider,
                one.workspace.ssh_port,
                moment(one.workspace.created_at),
                one.services,
            )
            for one in page
        )
        return cls(lines, total, limit, offset)
