"""A Nexus on the fakes and a real store in memory, for tests of the core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from nexus_core import Caller, Nexus, Policy, Registration, WorkspaceRequest
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.user import User
from nexus_core.domain.workspace import Workspace
from nexus_core.ports.store import Store
from nexus_core.usecases.show_workspace import WorkspaceView
from nexus_fakes import FakeClock, FakeHost, FakeIds, FakeKeys, FakeProbe, FakeProvider, FakePublisher, Faults
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

    def __post_init__(self) -> None:
        self.provider = FakeProvider(faults=self.faults)
        self.publisher = FakePublisher(host=self.host, faults=self.faults)
        self.probe = FakeProbe(self.publisher, faults=self.faults)
        self.nexus = self._assemble()

    def _assemble(self) -> Nexus:
        return Nexus(
            store=self.store,
            provider=self.provider,
            publisher=self.publisher,
            keys=self.keys,
            probe=self.probe,
            clock=self.clock,
            ids=self.ids,
            policy=self.policy,
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

    async def create(self, caller: Caller, name: str = "web") -> Workspace:
        """An accepted workspace."""
        accepted = await self.nexus.create_workspace(caller, WorkspaceRequest(workspace_name=name))
        return accepted.workspace

    async def running(self, caller: Caller, name: str = "web") -> Workspace:
        """A workspace that has come up."""
        workspace = await self.create(caller, name)
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

    def leased(self) -> frozenset[int]:
        """The SSH ports that are leased now."""
        with self.store.snapshot() as records:
            return records.leases.held(PortKind.SSH)

    def steps(self, workspace_id: str) -> dict[str, str]:
        """The steps of the present or last operation and how they fare, without the skipped ones."""
        operation = self.show(workspace_id).operation
        assert operation is not None
        return {str(step.name): str(step.status) for step in operation.steps if step.status != "skipped"}


def nothing(*_: object) -> None:
    """What a look-up finds where the record is gone."""
