"""The whole life of workspaces under any sequence of requests, faults, restarts and foreign hands.

Hypothesis chooses what is asked and what goes wrong in which step; whatever it chooses, nothing is
lost or held twice on the way, and when the faults are over everything comes to rest in the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from nexus_core import Caller, Policy
from nexus_core.domain.host_ports import PortRange
from nexus_core.domain.lifecycle import IN_TRANSIT, Status
from nexus_core.errors import Conflict, HostPortsExhausted, NexusError, NotFound, ProviderFailed, ProviderUnavailable
from nexus_core.ports.provider import InstanceState
from worlds import ADMIN, World

T = TypeVar("T")

METHODS = ["create", "start", "stop", "delete", "observe", "authorize", "publish", "withdraw", "handshake", "instances"]
POLICY = Policy(ssh_ports=PortRange(2222, 2224), creations_at_once=2, others_at_once=2)


class WorkspaceLives(RuleBasedStateMachine):
    """One server, one user, three ports, and everything that may happen to them."""

    workspaces = Bundle("workspaces")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.pending: set[asyncio.Future[Any]] = set()
        self.rotations = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        async def build() -> World:
            return await World(policy=POLICY).__aenter__()

        self.world = self.do(build())
        self.alice: Caller = self.world.register()

    def ask(self, work: Coroutine[Any, Any, object]) -> None:
        """Send a request that may take its time; what it answers is looked at in the end."""

        async def send() -> None:
            self.pending.add(asyncio.ensure_future(work))
            await self.world.clock.settle()

        self.do(send())

    @rule(target=workspaces, name=st.sampled_from("abcd"))
    def create(self, name: str) -> str:
        async def create() -> str:
            workspace = await self.world.create(self.alice, name)
            await self.world.clock.settle()
            return workspace.id

        try:
            return self.do(create())
        except (Conflict, HostPortsExhausted):
            return ""

    @rule(workspace=workspaces)
    def start(self, workspace: str) -> None:
        async def start() -> None:
            try:
                self.world.nexus.start_workspace(self.alice, workspace)
            except (Conflict, NotFound):
                return
            await self.world.clock.settle()

        self.do(start())

    @rule(workspace=workspaces, force=st.booleans())
    def stop(self, workspace: str, force: bool) -> None:
        self.ask(self.world.nexus.stop_workspace(self.alice, workspace, force=force))

    @rule(workspace=consumes(workspaces), force=st.booleans())
    def delete(self, workspace: str, force: bool) -> None:
        self.ask(self.world.nexus.delete_workspace(self.alice, workspace, force=force))

    @rule()
    def rotate(self) -> None:
        self.rotations += 1
        key = self.world.keys.sample(f"key {self.rotations}").text
        self.ask(self.world.nexus.rotate_key(self.alice, "alice", key, None))

    @rule(
        method=st.sampled_from(METHODS),
        error=st.sampled_from([ProviderFailed, ProviderUnavailable]),
        skip=st.integers(0, 2),
        after=st.booleans(),
    )
    def plan_failure(self, method: str, error: type[NexusError], skip: int, after: bool) -> None:
        self.world.faults.fail(method, error(f"{method} failed"), skip=skip, after_effect=after)

    @rule(method=st.sampled_from(METHODS), after=st.booleans())
    def plan_hang(self, method: str, after: bool) -> None:
        self.world.faults.hang(method, after_effect=after)

    @rule(away=st.booleans())
    def provider(self, away: bool) -> None:
        self.world.provider.available = not away

    @rule(seconds=st.sampled_from([0.1, 1, 20, 100, 1000]))
    def wait(self, seconds: float) -> None:
        self.do(self.world.clock.advance(seconds))

    @rule()
    def restart(self) -> None:
        async def restart() -> None:
            self.world.faults.clear("instances")  # or `open` would hang, as a real one would until LXD answers
            self.world.faults.clear("restore")
            await self.world.restart()
            await self.world.clock.settle()

        self.do(restart())

    @rule(workspace=workspaces, vanish=st.booleans())
    def foreign_hand(self, workspace: str, vanish: bool) -> None:
        name = "nexus-" + workspace.removeprefix("ws-")
        if any(one.name == name for one in self.world.provider.present()):
            (self.world.provider.vanish if vanish else self.world.provider.halt)(name)

    @invariant()
    def every_port_has_one_holder_and_every_workspace_one_port(self) -> None:
        if not hasattr(self, "world"):
            return
        shown, _ = self.world.nexus.list_workspaces(ADMIN, limit=200, offset=0)
        ports = [one.ssh_port for one in shown]
        assert len(set(ports)) == len(ports)
        assert set(ports) == self.world.leased()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.do(self.come_to_rest())
        finally:
            self.runner.close()

    async def come_to_rest(self) -> None:
        world = self.world
        world.faults.clear()
        world.provider.available = True
        # Faults that were planned may have put the longest wait between two attempts.
        await world.clock.advance(2000)
        await world.idle()
        for answer in await asyncio.gather(*self.pending, return_exceptions=True):
            assert answer is None or not isinstance(answer, BaseException) or isinstance(answer, NexusError), answer
        shown, _ = world.nexus.list_workspaces(ADMIN, limit=200, offset=0)
        published = await world.publisher.published()
        instances = {one.name: one for one in world.provider.present()}
        assert {one.status for one in shown}.isdisjoint(IN_TRANSIT)
        for one in shown:
            instance = instances.get(one.container_id)
            if one.status is Status.RUNNING:
                assert instance is not None
                assert instance.state is InstanceState.RUNNING
                assert one.ssh_port in published
                assert world.provider.authorized_key(one.container_id) == world.user(self.alice).public_key
            if one.status is Status.STOPPED:
                assert instance is None or instance.state is not InstanceState.RUNNING
                assert one.ssh_port not in published
        for one in shown:
            await world.nexus.delete_workspace(ADMIN, one.id, force=True)
        await world.clock.advance(200)
        assert world.leased() == frozenset()
        assert world.provider.present() == []
        assert await world.publisher.published() == {}
        await world.__aexit__()


TestWorkspaceLives = WorkspaceLives.TestCase
TestWorkspaceLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
