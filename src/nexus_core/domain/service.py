"""A service: a program that a workspace runs, what it needs first, and how its health is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from nexus_core.domain.service_graph import ServiceGraph
from nexus_core.errors import InvalidRequest, InvalidServiceGraph

SERVICE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
MOST_SERVICES: Final = 100
LONGEST_SCRIPT: Final = 65_536
LONGEST_SECONDS: Final = 3600.0
# bash keeps these for itself: an assignment is an error, and its value would not be the one that was asked for.
_RESERVED: Final = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
_NAME = re.compile(SERVICE_NAME)
_VARIABLE = re.compile(VARIABLE)


class CheckType(StrEnum):
    """How a service's health is told; all but ``none`` look from inside the workspace, at its own loopback."""

    HTTP = "http"
    TCP = "tcp"
    EXEC = "exec"
    CUSTOM = "custom"
    NONE = "none"


class ServiceStatus(StrEnum):
    """What a service is doing."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"
    ERROR = "error"


class Health(StrEnum):
    """What the last check said; ``timeout`` is a check that did not answer in its time."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a service is looked at. Times are seconds.

    ``path`` and ``expected_status`` (None: any below 400) are for ``http``; ``command`` is for ``exec`` and
    ``custom``, a shell line whose exit status 0 is healthy. While it starts, a service is looked at at least
    once a second and has failed after ``retries`` failures spaced by ``interval``, not counting those of the
    first ``start_period`` seconds; later one look every ``interval`` decides.
    """

    type: CheckType = CheckType.NONE
    path: str = "/"
    expected_status: int | None = None
    command: str | None = None
    interval: float = 5.0
    timeout: float = 5.0
    retries: int = 12
    start_period: float = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which a service that was never healthy has failed to start."""
        return self.start_period + self.retries * max(self.interval, 0.0) + self.timeout


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as it was asked for.

    ``command`` is any shell line; None stands for something that the workspace's owner runs by other means and
    of which only the port is known. ``env`` may hold secrets.
    """

    name: str
    command: str | None
    port: int | None = None
    depends_on: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    health_check: HealthCheck = field(default_factory=HealthCheck)
    expose: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a workspace and how it fares; ``mapped_port`` is the host port that leads to it."""

    workspace_id: str
    spec: ServiceSpec
    created_at: datetime
    status: ServiceStatus = ServiceStatus.PENDING
    health: Health = Health.UNKNOWN
    mapped_port: int | None = None
    last_check: datetime | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def wants_forward(self) -> bool:
        """Whether a host port is to lead to it while the workspace runs."""
        return self.spec.port is not None and (self.spec.expose or self.mapped_port is not None)


def graph_of(services: Sequence[ServiceSpec]) -> ServiceGraph:
    """The order of these services; raises what `check_services` raises about their dependencies."""
    return ServiceGraph({one.name: one.depends_on for one in services})


def in_start_order(services: Sequence[Service]) -> list[Service]:
    """The services, each after all it depends on."""
    by_name = {one.name: one for one in services}
    return [by_name[name] for name in graph_of([one.spec for one in services]).start_order]


def check_services(services: Sequence[ServiceSpec], *, at: str = "$.services") -> ServiceGraph:
    """The order of the services, if they can be run as they are.

    Raises `InvalidRequest` for a value out of its range (``details`` names it below ``at``), and
    `InvalidServiceGraph` for a name or port that is there twice, an unknown dependency or a cycle.
    """
    if len(services) > MOST_SERVICES:
        raise InvalidRequest(
            f"A workspace cannot have {len(services)} services", details={at: f"must be at most {MOST_SERVICES}"}
        )
    names: set[str] = set()
    ports: dict[int, str] = {}
    for index, service in enumerate(services):
        _check_service(service, f"{at}[{index}]")
        if service.name in names:
            raise InvalidServiceGraph(
                f"There are two services named {service.name!r}", details={"duplicate": service.name}
            )
        names.add(service.name)
        if service.port is not None and service.port in ports:
            raise InvalidServiceGraph(
                f"Services {ports[service.port]!r} and {service.name!r} both have port {service.port}",
                details={"duplicate": service.port, "services": [ports[service.port], service.name]},
            )
        if service.port is not None:
            ports[service.port] = service.name
    return graph_of(services)


def check_script(text: str, *, at: str) -> str:
    """The shell text itself if a shell can be given it, else `InvalidRequest` naming ``at``."""
    reason = None
    if not text.strip():
        reason = "must not be empty"
    elif len(text) > LONGEST_SCRIPT:
        reason = f"must have at most {LONGEST_SCRIPT} characters"
    elif "\0" in text or not _is_encodable(text):
        reason = "must be text without NUL"
    if reason is not None:
        raise InvalidRequest("A command cannot be run", details={at: reason})
    return text


def check_env(env: Mapping[str, str], *, at: str) -> None:
    """Raise `InvalidRequest` unless every name can be a variable's and every value its value."""
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(
                f"{name[:60]!r} cannot be the name of a variable",
                details={f"{at}.{name[:60]}": "must be letters, digits and _, not starting with a digit"},
            )
        if name in _RESERVED:
            raise InvalidRequest(
                f"The variable {name} belongs to the shell", details={f"{at}.{name}": "cannot be set in a shell"}
            )
        if "\0" in value or not _is_encodable(value) or len(value) > LONGEST_SCRIPT:
            raise InvalidRequest(
                f"The value of {name} cannot be put into the environment",
                details={f"{at}.{name}": f"must be text without NUL, {LONGEST_SCRIPT} characters at most"},
            )


def _check_service(service: ServiceSpec, at: str) -> None:
    if not _NAME.fullmatch(service.name):
        raise InvalidRequest(
            f"{service.name[:70]!r} cannot be a service's name",
            why="It has 1-63 of letters, digits, '_', '.' and '-', and starts with a letter or digit.",
            details={f"{at}.name": "not a service name"},
        )
    if service.command is not None:
        check_script(service.command, at=f"{at}.command")
    if service.port is not None and not 1 <= service.port <= 65535:
        raise InvalidRequest(f"{service.port} is not a port", details={f"{at}.port": "must be between 1 and 65535"})
    if service.expose and service.port is None:
        raise InvalidRequest(
            f"Service {service.name!r} has no port that could be exposed",
            details={f"{at}.expose": "needs a port"},
        )
    check_env(service.env, at=f"{at}.env")
    _check_health(service, f"{at}.health_check")


def _check_health(service: ServiceSpec, at: str) -> None:
    check = service.health_check
    problems = {f"{at}.{key}": reason for key, reason in _misfits(check, has_port=service.port is not None)}
    for name, value, least in (
        ("interval", check.interval, 0.5),
        ("timeout", check.timeout, 0.1),
        ("start_period", check.start_period, 0.0),
    ):
        if not least <= value <= LONGEST_SECONDS:
            problems[f"{at}.{name}"] = f"must be between {least:g} and {LONGEST_SECONDS:g} seconds"
    if not 1 <= check.retries <= 1000:
        problems[f"{at}.retries"] = "must be between 1 and 1000"
    if problems:
        raise InvalidRequest(f"The health check of service {service.name!r} cannot be done", details=problems)
    if check.command is not None:
        check_script(check.command, at=f"{at}.command")


def _misfits(check: HealthCheck, *, has_port: bool) -> Iterator[tuple[str, str]]:
    """What does not go with the type of the check, or has no meaning."""
    is_command = check.type in (CheckType.EXEC, CheckType.CUSTOM)
    if check.type in (CheckType.HTTP, CheckType.TCP) and not has_port:
        yield "type", f"{check.type} needs the service to have a port"
    if is_command and not check.command:
        yield "command", f"{check.type} needs a command"
    if not is_command and check.command is not None:
        yield "command", f"goes with exec and custom, not with {check.type}"
    if check.type is not CheckType.HTTP and check.path != "/":
        yield "path", f"goes with http, not with {check.type}"
    if check.type is not CheckType.HTTP and check.expected_status is not None:
        yield "expected_status", f"goes with http, not with {check.type}"
    if not check.path.startswith("/") or not check.path.isprintable() or " " in check.path or not check.path.isascii():
        yield "path", "must start with / and have no spaces"
    if check.expected_status is not None and not 100 <= check.expected_status <= 599:
        yield "expected_status", "must be between 100 and 599"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
