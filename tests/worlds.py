"""A Nexus on the fakes and a real store in memory, for tests of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from nexus_core import Caller, Nexus, Policy, Registration, WorkspaceRequest
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import CheckType, HealthCheck, Service, ServiceSpec
from nexus_core.domain.user import User
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.fault_points import Passing, unheeded
from nexus_core.ports.meters import Meters
from nexus_core.ports.store import Store
from nexus_core.usecases.show_workspace import WorkspaceView
from nexus_fakes import (
    FakeBundles,
    FakeClock,
    FakeHost,
    FakeIds,
    FakeInsides,
    FakeKeys,
    FakeMeters,
    FakeProbe,
    FakeProjectFiles,
    FakeProvider,
    FakePublisher,
    FakeWorkbench,
    Faults,
)
from nexus_fakes.workbench import Inside
from nexus_sqlite.store import SqliteStore

ADMIN = Caller(user=None)


@dataclass
class World:
    """The parts of one server; `restart` plays the process ending and another beginning."""

    policy: Policy = field(default_factory=lambda: Policy(ssh_ports=PortRange(2222, 2225)))
    store: Store = field(default_factory=SqliteStore.in_memory)
    host: FakeHost = field(default_factory=FakeHost)
    clock: FakeClock = field(default_factory=FakeClock)
    ids: FakeIds = field(default_factory=FakeIds)
    keys: FakeKeys = field(default_factory=FakeKeys)
    faults: Faults = field(default_factory=Faults)
    insides: FakeInsides = field(default_factory=FakeInsides)
    project_files: FakeProjectFiles = field(default_factory=FakeProjectFiles)
    bundles: FakeBundles = field(default_factory=FakeBundles)
    meters: Meters = field(default_factory=FakeMeters)
    passing: Passing = unheeded

    def __post_init__(self) -> None:
        self.provider = FakeProvider(faults=self.faults)
        self.publisher = FakePublisher(host=self.host, faults=self.faults)
        self.probe = FakeProbe(self.publisher, faults=self.faults)
        self.workbench = FakeWorkbench(self.provider, insides=self.insides, faults=self.faults)
        self.bundles.faults = self.faults
        self.nexus = self._assemble()

    def _assemble(self) -> Nexus:
        return Nexus(
            store=self.store,
            provider=self.provider,
            publisher=self.publisher,
            keys=self.keys,
            probe=self.probe,
            workbench=self.workbench,
            project_files=self.project_files,
            bundles=self.bundles,
            clock=self.clock,
            ids=self.ids,
            policy=self.policy,
            meters=self.meters,
            passing=self.passing,
        )

    async def __aenter__(self) -> Self:
        await self.nexus.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.faults.clear()
        await self.nexus.engine.close(grace=0)
        await self.nexus.close()
        self.store.close()

    async def restart(self) -> int:
        """End this process's work and begin anew on what is kept; how many operations were resumed."""
        await self.nexus.engine.close(grace=0)
        await self.nexus.close()
        self.nexus = self._assemble()
        return await self.nexus.open()

    def register(self, name: str = "alice") -> Caller:
        """A registered user, as the one who is asking."""
        github_id = 1 + sum(name.encode())
        key = self.keys.sample(name).text
        user = self.nexus.register_user(ADMIN, Registration(github_username=name, github_id=github_id, ssh_pubkey=key))
        return Caller(user=user)

    async def create(self, caller: Caller, name: str = "web", **more: Any) -> Workspace:
        """An accepted workspace; ``more`` goes into the request."""
        accepted = await self.nexus.create_workspace(caller, WorkspaceRequest(workspace_name=name, **more))
        return accepted.workspace

    async def running(self, caller: Caller, name: str = "web", **more: Any) -> Workspace:
        """A workspace that has come up."""
        workspace = await self.create(caller, name, **more)
        await self.idle()
        return self.show(workspace.id).workspace

    async def idle(self) -> None:
        """Let everything under way come to its end; no time passes."""
        await self.nexus.engine.idle()

    def show(self, workspace_id: str) -> WorkspaceView:
        """The workspace as the administrator sees it."""
        return self.nexus.show_workspace(ADMIN, workspace_id)

    def user(self, caller: Caller) -> User:
        """The caller's record as it is now."""
        assert caller.user is not None
        user, _ = self.nexus.show_user(ADMIN, caller.user.github_username)
        return user

    def leased(self, kind: PortKind = PortKind.SSH) -> frozenset[int]:
        """The ports of this kind that are leased now."""
        with self.store.snapshot() as records:
            return records.leases.held(kind)

    def forwarded(self) -> dict[int, int]:
        """Which host port leads to which port of a container, without SSH."""
        published = self.host.published.get("server", {})
        return {port: target.port for port, target in published.items() if target.port != 22}

    def inside(self, workspace_id: str) -> Inside:
        """What is inside the workspace's container."""
        return self.workbench.inside(self.show(workspace_id).workspace.container_id)

    def service(self, workspace_id: str, name: str) -> Service:
        """One service of the workspace as the administrator sees it."""
        return next(one for one in self.show(workspace_id).services if one.name == name)

    def fares(self, workspace_id: str) -> dict[str, str]:
        """The status of each service of the workspace, in the order in which they start."""
        return {one.name: str(one.status) for one in self.show(workspace_id).services}

    def recipe(self, workspace_id: str) -> Recipe:
        """What is done inside the workspace besides its services."""
        with self.store.snapshot() as records:
            return records.recipes.get(workspace_id)

    def halt(self, workspace_id: str) -> None:
        """Let the workspace's container stop by another's hand."""
        self.provider.halt(self.show(workspace_id).workspace.container_id)
        self.insides.wake()

    def steps(self, workspace_id: str) -> dict[str, str]:
        """The steps of the present or last operation and how they fare, without the skipped ones."""
        operation = self.show(workspace_id).operation
        assert operation is not None
        return {str(step.name): str(step.status) for step in operation.steps if step.status != "skipped"}


def spec(name: str, *needs: str, port: int | None = None, **more: Any) -> ServiceSpec:
    """A service that needs these others; one with a port is exposed and looked at there."""
    check = HealthCheck(CheckType.NONE if port is None else CheckType.TCP)
    fields: dict[str, Any] = {"command": f"run {name}", "expose": port is not None, "health_check": check, **more}
    return ServiceSpec(name=name, port=port, depends_on=needs, **fields)


def nothing(*_: object) -> None:
    """What a look-up finds where the record is gone."""
