"""A workspace: what was asked for, where it lives, and how it fares."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from nexus_core.domain import lifecycle
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.repository import Repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.user import PublicKey
from nexus_core.errors import InvalidRequest

WORKSPACE_NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(WORKSPACE_NAME)
IMAGE = r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,254}"
_IMAGE = re.compile(IMAGE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a workspace is in ``error``: the step that failed, a stable code, and what to do."""

    code: str
    message: str
    step: str | None


@dataclass(frozen=True, slots=True)
class Workspace:
    """One isolated Linux container that belongs to a user.

    ``provisioned`` names the steps that need doing only once in its life and are done;
    ``authorized_fingerprint`` is the key its container admits at present.
    """

    id: str
    owner_id: str
    owner: str
    name: str
    status: Status
    provider: str
    image: str
    resources: Resources
    ssh_port: int | None
    container_id: str
    node: str | None
    created_at: datetime
    updated_at: datetime
    repository: Repository | None = None
    host_key: PublicKey | None = None
    authorized_fingerprint: str | None = None
    provisioned: frozenset[str] = frozenset()
    error: Failure | None = None
    notes: tuple[str, ...] = ()
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    last_activity_at: datetime | None = None
    deleted_at: datetime | None = None

    def become(self, status: Status, now: datetime, *, error: Failure | None = None) -> Workspace:
        """The same workspace in another status, with the times that go with it.

        Raises `InvalidStatusTransition` where the lifecycle does not allow the change.
        """
        lifecycle.check(self.status, status)
        return replace(
            self,
            status=status,
            error=error,
            updated_at=now,
            started_at=now if status is Status.RUNNING else self.started_at,
            stopped_at=now if status is Status.STOPPED else self.stopped_at,
            deleted_at=now if status is Status.DELETED else self.deleted_at,
        )


def container_name(workspace_id: str) -> str:
    """The instance's name: one workspace, one name, so that a repeated creation meets the first."""
    return "nexus-" + workspace_id.removeprefix("ws-")


def check_workspace_name(name: str) -> str:
    """The name itself if it can be a host name, else `InvalidRequest`."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:70]!r} cannot be a workspace's name",
            why="It has 1-63 of a-z, 0-9 and '-', starts with a letter and does not end with a hyphen.",
            details={"$.workspace_name": "not a workspace name"},
        )
    return name


def check_image(reference: str) -> str:
    """The reference itself if it has the shape of one, else `InvalidRequest`."""
    if not _IMAGE.fullmatch(reference):
        raise InvalidRequest(
            f"{reference[:60]!r} is not an image reference",
            fix="Name a local alias or fingerprint, or a remote image such as ubuntu:22.04.",
            details={"$.image": "not an image reference"},
        )
    return reference
