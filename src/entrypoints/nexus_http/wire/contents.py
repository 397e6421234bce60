"""What clients ask to have inside a workspace: a repository, set-up scripts and services."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from nexus_core.domain import repository as core
from nexus_core.domain import service
from nexus_core.domain.service import LONGEST_SCRIPT, LONGEST_SECONDS, MOST_SERVICES, SERVICE_NAME, CheckType
from nexus_http.wire.fields import HostPort

Script = Annotated[
    str,
    Meta(min_length=1, max_length=LONGEST_SCRIPT, description="Any shell text.", examples=["npm ci"]),
]
Name = Annotated[str, Meta(max_length=63)]


class Repo(Struct, forbid_unknown_fields=True, frozen=True):
    """The repository to clone: by ``url``, by ``owner`` and ``name`` at GitHub, or uploaded as a ``bundle``.

    ``token`` (https) or ``deploy_key`` (ssh, the private half) open a private one for this workspace alone;
    they are never answered.
    """

    url: (
        Annotated[str, Meta(min_length=1, max_length=2000, examples=["https://github.com/my-org/my-project.git"])]
        | None
    ) = None
    owner: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    branch: Annotated[str, Meta(min_length=1, max_length=255, description="Left out: the repository's own.")] | None = (
        None
    )
    is_fork: bool | None = None
    bundle: Annotated[bool, Meta(description="It is uploaded with `PUT …/repository-bundle`.")] | None = None
    token: Annotated[str, Meta(min_length=1, max_length=4096, extra_json_schema={"writeOnly": True})] | None = None
    deploy_key: Annotated[str, Meta(min_length=1, max_length=32_768, extra_json_schema={"writeOnly": True})] | None = (
        None
    )

    def repository(self) -> core.Repository:
        """The repository itself."""
        return core.Repository(
            url=self.url,
            owner=self.owner,
            name=self.name,
            branch=self.branch,
            is_fork=bool(self.is_fork),
            bundle=bool(self.bundle),
        )

    def credentials(self) -> core.Credentials:
        """What opens it."""
        return core.Credentials(self.token, self.deploy_key)


class HealthCheck(Struct, forbid_unknown_fields=True, frozen=True):
    """How to tell that a service is well, seen from inside the workspace; times are seconds.

    ``http`` asks for ``path`` and takes ``expected_status``, or any below 400; ``exec`` and ``custom`` run
    ``command``, and exit status 0 is healthy.
    """

    type: CheckType
    path: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    expected_status: Annotated[int, Meta(ge=100, le=599)] | None = None
    command: Script | None = None
    interval: Annotated[float, Meta(ge=0.5, le=LONGEST_SECONDS)] | None = None
    timeout: Annotated[float, Meta(ge=0.1, le=LONGEST_SECONDS)] | None = None
    retries: Annotated[int, Meta(ge=1, le=1000)] | None = None
    start_period: Annotated[float, Meta(ge=0, le=LONGEST_SECONDS)] | None = None

    def check(self) -> service.HealthCheck:
        """The check, with defaults for what is left out."""
        given: dict[str, Any] = {
            name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None
        }
        return service.HealthCheck(**given)


class AskedService(Struct, forbid_unknown_fields=True, frozen=True):
    """A program that the workspace runs; it starts when all it depends on are healthy.

    ``expose`` is true where there is a ``port``, and ``health_check`` ``tcp`` then and else ``none``, unless
    they are given.
    """

    name: Annotated[
        str, Meta(pattern=f"^{SERVICE_NAME}$", description="1-63 letters, digits, '_', '.' and '-'.", examples=["api"])
    ]
    command: Script
    port: Annotated[HostPort, Meta(description="Inside the workspace; none for a worker.")] | None = None
    depends_on: (
        Annotated[tuple[Name, ...], Meta(max_length=MOST_SERVICES, description="Names of other services.")] | None
    ) = None
    env: dict[str, str] | None = None
    health_check: HealthCheck | None = None
    expose: bool | None = None

    def spec(self) -> service.ServiceSpec:
        """The service, with defaults for what is left out."""
        has_port = self.port is not None
        by_default = service.HealthCheck(CheckType.TCP if has_port else CheckType.NONE)
        return service.ServiceSpec(
            name=self.name,
            command=self.command,
            port=self.port,
            depends_on=self.depends_on or (),
            env=self.env or {},
            health_check=by_default if self.health_check is None else self.health_check.check(),
            expose=has_port if self.expose is None else self.expose,
        )
