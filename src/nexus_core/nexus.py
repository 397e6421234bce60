"""The whole core, put together from its ports: what entrypoints drive and other programs embed."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from nexus_core.engine.contents import Contents
from nexus_core.engine.engine import Engine
from nexus_core.engine.fault_points import Passing, unheeded
from nexus_core.engine.feed import Feed
from nexus_core.engine.forwards import Forwards
from nexus_core.engine.health import HealthMonitor
from nexus_core.engine.observation import Observation
from nexus_core.engine.reconciler import Reconciler
from nexus_core.engine.steps import Steps
from nexus_core.engine.store_watch import StoreWatch
from nexus_core.policy import Policy
from nexus_core.ports.bundles import Bundles
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.meters import Meters, NoMeters
from nexus_core.ports.port_publisher import PortPublisher
from nexus_core.ports.project_files import ProjectFiles
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.public_keys import PublicKeys
from nexus_core.ports.ssh_probe import SshProbe
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Workbench
from nexus_core.usecases.authenticate import AdmitAdministrator, Authenticate
from nexus_core.usecases.create_workspace import CreateWorkspace
from nexus_core.usecases.delete_workspace import DeleteWorkspace
from nexus_core.usecases.forward_port import CloseForward, ForwardPort
from nexus_core.usecases.moves import Moves
from nexus_core.usecases.read_logs import ReadLogs
from nexus_core.usecases.register_user import RegisterUser
from nexus_core.usecases.restart_service import RestartService
from nexus_core.usecases.rotate_key import RotateKey
from nexus_core.usecases.show_server import ShowServer
from nexus_core.usecases.show_user import ShowUser
from nexus_core.usecases.show_workspace import ListWorkspaces, ShowWorkspace
from nexus_core.usecases.start_workspace import StartWorkspace
from nexus_core.usecases.stop_workspace import StopWorkspace
from nexus_core.usecases.tokens import IssueToken, ListTokens, RevokeToken
from nexus_core.usecases.upload_bundle import UploadBundle
from nexus_core.usecases.watch_events import WatchEvents


class Nexus:
    """Every use case as an attribute, and the engine that does their work.

    Opens nothing by itself: `open` (or ``async with``) begins the work, `close` ends it and leaves
    what is not over to the next start. The store stays its owner's to close.
    """

    def __init__(
        self,
        *,
        store: Store,
        provider: WorkspaceProvider,
        publisher: PortPublisher,
        keys: PublicKeys,
        probe: SshProbe,
        workbench: Workbench,
        project_files: ProjectFiles,
        bundles: Bundles,
        clock: Clock,
        ids: Ids,
        policy: Policy | None = None,
        meters: Meters | None = None,
        passing: Passing = unheeded,
    ) -> None:
        """``passing`` is told each fault point, for trials in which the server is to die at one."""
        self.policy = policy = policy or Policy()
        steps = Steps(store, provider, publisher, keys, probe, bundles, clock, policy)
        forwards = Forwards(store, provider, publisher, clock, policy, passing)
        contents = Contents(store, provider, workbench, project_files, bundles, forwards, clock, policy)
        actions = {**steps.actions(), **contents.actions()}
        self.monitor = monitor = HealthMonitor(store=store, workbench=workbench, clock=clock, policy=policy)
        self.engine = engine = Engine(
            store=store,
            clock=clock,
            actions=actions,
            policy=policy,
            is_up=steps.is_up,
            ended=monitor.nudge,
            meters=meters or NoMeters(),
            passing=passing,
        )
        observation = Observation(
            store=store, provider=provider, publisher=publisher, engine=engine, clock=clock, ids=ids
        )
        self.reconciler = Reconciler(
            store=store,
            provider=provider,
            publisher=publisher,
            forwards=forwards,
            observation=observation,
            engine=engine,
            clock=clock,
            policy=policy,
        )
        self.store_watch = StoreWatch(store=store, clock=clock)
        moves = Moves(store=store, engine=engine, clock=clock, ids=ids)

        self.authenticate = Authenticate(store=store, clock=clock)
        self.admit_administrator = AdmitAdministrator(store=store, clock=clock, ids=ids)
        self.register_user = RegisterUser(store=store, keys=keys, clock=clock, ids=ids)
        self.show_user = ShowUser(store=store)
        self.rotate_key = RotateKey(store=store, keys=keys, provider=provider, engine=engine, clock=clock, ids=ids)
        self.issue_token = IssueToken(store=store, clock=clock, ids=ids)
        self.list_tokens = ListTokens(store=store)
        self.revoke_token = RevokeToken(store=store)
        self.create_workspace = CreateWorkspace(
            store=store,
            provider=provider,
            publisher=publisher,
            engine=engine,
            reconciler=self.reconciler,
            clock=clock,
            ids=ids,
            policy=policy,
        )
        self.upload_bundle = UploadBundle(store=store, bundles=bundles)
        self.show_workspace = ShowWorkspace(store=store, monitor=monitor)
        self.list_workspaces = ListWorkspaces(store=store)
        self.start_workspace = StartWorkspace(moves=moves)
        self.stop_workspace = StopWorkspace(store=store, provider=provider, moves=moves)
        self.delete_workspace = DeleteWorkspace(store=store, moves=moves)
        self.forward_port = ForwardPort(store=store, forwards=forwards, observation=observation)
        self.close_forward = CloseForward(store=store, forwards=forwards)
        self.restart_service = RestartService(
            store=store, workbench=workbench, observation=observation, monitor=monitor, clock=clock
        )
        self.read_logs = ReadLogs(store=store, workbench=workbench, observation=observation)
        self.watch_events = WatchEvents(store=store, feed=Feed(store=store, clock=clock), clock=clock)
        self.show_server = ShowServer(
            store=store, provider=provider, reconciler=self.reconciler, clock=clock, policy=policy
        )
        self._watches: list[asyncio.Task[None]] = []

    async def open(self) -> int:
        """Begin the work; how many operations of an earlier process were taken up again."""
        await self.reconciler.prepare()
        resumed = self.engine.open()
        loop = asyncio.get_running_loop()
        self._watches = [
            loop.create_task(self.reconciler.run(), name="reconciler"),
            loop.create_task(self.monitor.run(), name="monitor"),
            loop.create_task(self.store_watch.run(), name="store watch"),
        ]
        return resumed

    async def close(self) -> None:
        """End the work; short operations are let end, the others go on at the next `open`. Idempotent."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        self._watches.clear()
        await self.engine.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
