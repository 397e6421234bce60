"""Asking for a workspace."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind
from nexus_core.domain.recipe import Asked, Recipe
from nexus_core.domain.repository import Credentials, Repository, check_repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.service import Service, ServiceSpec, check_script, check_services
from nexus_core.domain.user import Caller, User
from nexus_core.domain.workspace import Workspace, check_image, check_workspace_name, container_name
from nexus_core.engine.engine import Engine
from nexus_core.engine.journal import enqueue, tell_status
from nexus_core.engine.reconciler import Reconciler
from nexus_core.errors import IdempotencyConflict, InvalidRequest, UnknownProvider, UserNotFound
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.port_publisher import PortPublisher
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.records import IdempotencyKey
from nexus_core.ports.store import Records, Store

_UNKNOWN_DURATION = 30
_RECENT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRequest:
    """What is asked for; None takes the server's setting, or the caller as the owner."""

    workspace_name: str
    github_username: str | None = None
    provider: str | None = None
    image: str | None = None
    cpu: int | None = None
    memory: str | None = None
    disk: str | None = None
    repository: Repository | None = None
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    setup: tuple[str, ...] = ()
    services: tuple[ServiceSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The client's name for a request that it may send again, and a digest of what it asks."""

    key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A workspace on its way, and about how many seconds it will take."""

    workspace: Workspace
    estimated_seconds: int


class CreateWorkspace:
    """Accepts a workspace: everything about it is stored in one transaction, and the engine does the rest."""

    def __init__(
        self,
        *,
        store: Store,
        provider: WorkspaceProvider,
        publisher: PortPublisher,
        engine: Engine,
        reconciler: Reconciler,
        clock: Clock,
        ids: Ids,
        policy: Policy,
    ) -> None:
        self._store = store
        self._provider = provider
        self._publisher = publisher
        self._engine = engine
        self._reconciler = reconciler
        self._clock = clock
        self._ids = ids
        self._policy = policy

    async def __call__(self, caller: Caller, request: WorkspaceRequest, *, retry: Retry | None = None) -> Accepted:
        """The accepted workspace, ``creating``, or ``pending`` while others are before it.

        A retried request answers with the first one's workspace. Raises `InvalidRequest`,
        `InvalidServiceGraph`, `Forbidden`, `UserNotFound`, `UnknownProvider`, `UnknownImage`,
        `WorkspaceAlreadyExists`, `IdempotencyConflict` or `HostPortsExhausted`; nothing is stored then.
        """
        owner_name = caller.acting_for(request.github_username)
        check_workspace_name(request.workspace_name)
        image = check_image(request.image or self._policy.default_image)
        resources = self._resources(request)
        repository = _repository(request)
        check_services(request.services)
        for index, script in enumerate(request.setup):
            check_script(script, at=f"$.setup[{index}]")
        if request.provider not in (None, self._provider.kind):
            raise UnknownProvider(
                f"This server has no provider {request.provider[:40]!r}",
                details={"$.provider": f"must be {self._provider.kind!r}"},
            )
        await self._provider.check_image(image)
        occupied = await self._publisher.occupied()
        with self._store.transaction() as records:
            first = self._answered_before(records, caller, retry)
            if first is None:
                draft = self._draft(self._owner(records, owner_name), request, image, resources)
                workspace = self._accept(records, replace(draft, repository=repository), request, occupied)
                if retry is not None:
                    records.idempotency_keys.add(
                        IdempotencyKey(_who(caller), retry.key, retry.request_digest, workspace.id, self._clock.now())
                    )
                workspace_id = workspace.id
            else:
                workspace_id = first
        self._engine.admit()
        return self._accepted(workspace_id)

    def _resources(self, request: WorkspaceRequest) -> Resources:
        default = self._policy.default_resources
        return Resources(
            cpu=default.cpu if request.cpu is None else request.cpu,
            memory=default.memory if request.memory is None else request.memory,
            disk=default.disk if request.disk is None else request.disk,
        )

    def _answered_before(self, records: Records, caller: Caller, retry: Retry | None) -> str | None:
        if retry is None:
            return None
        known = records.idempotency_keys.get(_who(caller), retry.key)
        if known is None:
            return None
        oldest = self._clock.now() - timedelta(hours=self._policy.idempotency_hours)
        if known.created_at < oldest:
            records.idempotency_keys.purge(oldest)
            return None
        if known.request_digest != retry.request_digest:
            raise IdempotencyConflict(
                "This Idempotency-Key was used for another request", details={"workspace_id": known.workspace_id}
            )
        return known.workspace_id

    @staticmethod
    def _owner(records: Records, github_username: str) -> User:
        owner = records.users.by_name(github_username)
        if owner is None:
            raise UserNotFound(f"There is no user named {github_username[:60]!r}")
        return owner

    def _draft(self, owner: User, request: WorkspaceRequest, image: str, resources: Resources) -> Workspace:
        now = self._clock.now()
        workspace_id = self._ids.new("ws")
        return Workspace(
            id=workspace_id,
            owner_id=owner.id,
            owner=owner.github_username,
            name=request.workspace_name,
            status=Status.PENDING,
            provider=self._provider.kind,
            image=image,
            resources=resources,
            ssh_port=None,
            container_id=container_name(workspace_id),
            node=self._reconciler.heartbeat.status.node,
            created_at=now,
            updated_at=now,
            last_activity_at=now,
        )

    def _accept(
        self, records: Records, draft: Workspace, request: WorkspaceRequest, occupied: frozenset[int]
    ) -> Workspace:
        now = draft.created_at
        # The name is checked before a port is looked for: a clash of names is the caller's to mend.
        records.workspaces.add(draft)
        port = self._policy.ssh_ports.lowest_free(records.leases.held(PortKind.SSH), occupied)
        records.leases.take(Lease(port, PortKind.SSH, draft.id, now))
        workspace = replace(draft, ssh_port=port)
        records.workspaces.update(workspace)
        records.services.replace(draft.id, [Service(draft.id, spec, now) for spec in request.services])
        records.recipes.set(draft.id, _recipe(request))
        enqueue(records, workspace, OperationKind.CREATE, self._ids.new("op"), now)
        tell_status(records, workspace, now, previous=None)
        return workspace

    def _accepted(self, workspace_id: str) -> Accepted:
        with self._store.snapshot() as records:
            workspace = records.workspaces.get(workspace_id)
            if workspace is None:
                raise InvalidRequest("The workspace this Idempotency-Key made is deleted and forgotten")
            recent = records.operations.creation_durations(workspace.provider, workspace.image, limit=_RECENT)
        seconds = math.ceil(median(recent) / 1000) if recent else _UNKNOWN_DURATION
        return Accepted(workspace, max(1, seconds))


def _repository(request: WorkspaceRequest) -> Repository | None:
    if request.repository is None:
        return None
    return check_repository(request.repository, request.credentials)


def _recipe(request: WorkspaceRequest) -> Recipe:
    asked = {"cpu": request.cpu, "memory": request.memory, "disk": request.disk}
    named = frozenset(name for name, value in asked.items() if value is not None)
    return Recipe(
        setup=request.setup,
        credentials=Credentials() if request.repository is None else request.credentials,
        asked=Asked(request.setup, named, services=bool(request.services)),
    )


def _who(caller: Caller) -> str:
    return "administrator" if caller.user is None else caller.user.id
