"""The workspace as clients are shown it, with all its parts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from nexus_core.domain import operation, repository, workspace
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import StepName, StepStatus
from nexus_core.usecases.show_workspace import WorkspaceView
from nexus_http.wire.fields import Count, HostPort, moment, moment_or_null
from nexus_http.wire.services import Service

SSH_USER = "dev"
"""The account that every image has or is given."""


class WorkspaceResources(Struct, frozen=True):
    """Limits enforced on the container."""

    cpu: Annotated[int, Meta(ge=1)]
    memory: str
    disk: str


class Ssh(Struct, frozen=True):
    """The way in; the host key is null until it is made, and the same for the workspace's whole life."""

    host: str
    port: HostPort | None
    user: str
    host_key: str | None
    host_key_fingerprint: str | None
    command: str | None

    @classmethod
    def of(cls, one: workspace.Workspace, host: str) -> Ssh:
        """The way into this workspace."""
        return cls(
            host=host,
            port=one.ssh_port,
            user=SSH_USER,
            host_key=one.host_key.text if one.host_key else None,
            host_key_fingerprint=one.host_key.fingerprint if one.host_key else None,
            command=f"ssh -p {one.ssh_port} {SSH_USER}@{host}" if one.ssh_port else None,
        )


class Repository(Struct, frozen=True):
    """The repository that was cloned into the workspace; ``commit`` is null until it is."""

    owner: str | None
    name: str | None
    branch: str | None
    commit: str | None
    url: str | None
    is_fork: bool

    @classmethod
    def of(cls, one: repository.Repository | None) -> Repository | None:
        """The repository as the API shows it."""
        if one is None:
            return None
        return cls(one.owner, one.name, one.branch, one.commit, one.url, one.is_fork)


class Progress(Struct, frozen=True):
    """One step of the current or last operation."""

    step: StepName
    status: StepStatus
    started_at: datetime | None
    duration_ms: Count | None
    error: str | None

    @classmethod
    def of(cls, step: operation.Step) -> Progress:
        """The step as the API shows it."""
        return cls(step.name, step.status, moment_or_null(step.started_at), step.duration_ms, step.error)


class WorkspaceError(Struct, frozen=True):
    """Why the workspace is in ``error``: a stable code, what to do, and the step that failed."""

    code: str
    message: str
    step: str | None


class Workspace(Struct, frozen=True):
    """Everything about a workspace.

    ``running``: it was reached by SSH through the published port, and all its services are up and healthy.
    """

    workspace_id: str
    owner: str
    name: str
    status: Status
    provider: str
    image: str
    resources: WorkspaceResources
    ssh: Ssh
    services: dict[str, Service]
    repository: Repository | None
    node: str | None
    container_id: str
    progress: tuple[Progress, ...]
    queue_position: Annotated[int, Meta(ge=1)] | None
    notes: tuple[str, ...]
    error: WorkspaceError | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    last_activity_at: datetime | None

    @classmethod
    def of(cls, view: WorkspaceView, host: str, forwards_host: str) -> Workspace:
        """The workspace as the API shows it: its SSH port is reached at ``host``, its services at the other."""
        one, failure = view.workspace, view.workspace.error
        return cls(
            workspace_id=one.id,
            owner=one.owner,
            name=one.name,
            status=one.status,
            provider=one.provider,
            image=one.image,
            resources=WorkspaceResources(one.resources.cpu, one.resources.memory, one.resources.disk),
            ssh=Ssh.of(one, host),
            services={service.name: Service.of(service, forwards_host) for service in view.services},
            repository=Repository.of(one.repository),
            node=one.node,
            container_id=one.container_id,
            progress=tuple(map(Progress.of, view.operation.steps)) if view.operation else (),
            queue_position=view.queue_position,
            notes=one.notes,
            error=WorkspaceError(failure.code, failure.message, failure.step) if failure else None,
            created_at=moment(one.created_at),
            updated_at=moment(one.updated_at),
            started_at=moment_or_null(one.started_at),
            stopped_at=moment_or_null(one.stopped_at),
            last_activity_at=moment_or_null(one.last_activity_at),
        )
