"""What clients are answered about services and their forwards."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from nexus_core.domain import service
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.service import Health, ServiceStatus
from nexus_core.engine.forwards import Opened
from nexus_core.usecases.show_workspace import WorkspaceView
from nexus_http.wire.fields import HostPort, moment, moment_or_null


class Service(Struct, frozen=True):
    """A service of a workspace and how it fares."""

    name: str
    status: ServiceStatus
    port: HostPort | None
    mapped_port: HostPort | None
    health: Health
    url: str | None
    depends_on: tuple[str, ...]
    last_check: datetime | None
    error: str | None

    @classmethod
    def of(cls, one: service.Service, host: str) -> Service:
        """The service as the API shows it; its forward is reached at ``host``."""
        return cls(
            name=one.name,
            status=one.status,
            port=one.spec.port,
            mapped_port=one.mapped_port,
            health=one.health,
            url=None if one.mapped_port is None else _url(host, one.mapped_port),
            depends_on=one.spec.depends_on,
            last_check=moment_or_null(one.last_check),
            error=one.error,
        )


class Services(Struct, frozen=True):
    """A workspace's services, in the order in which they start."""

    workspace_id: str
    services: tuple[Service, ...]

    @classmethod
    def of(cls, view: WorkspaceView, host: str) -> Services:
        """The services as the API lists them."""
        return cls(view.workspace.id, tuple(Service.of(one, host) for one in view.services))


class PortForward(Struct, frozen=True):
    """A host port that leads to a service."""

    workspace_id: str
    service: str
    port: HostPort
    mapped_port: HostPort
    url: str
    created_at: datetime

    @classmethod
    def of(cls, opened: Opened, host: str) -> PortForward:
        """The forward as the API shows it."""
        one, port = opened.service, opened.lease.port
        return cls(
            one.workspace_id, one.name, one.spec.port or port, port, _url(host, port), moment(opened.lease.allocated_at)
        )


class ServiceRestarting(Struct, frozen=True):
    """A service that is being started anew."""

    workspace_id: str
    service: str
    status: ServiceStatus


class BundleTaken(Struct, frozen=True):
    """A workspace whose repository has arrived."""

    workspace_id: str
    status: Status
    polling_url: str


def _url(host: str, port: int) -> str:
    return f"http://{host}:{port}"
