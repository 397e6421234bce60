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

from mortality import Killed, mortal_world, reborn
from nexus_core import Caller, Policy
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import IN_TRANSIT, Status
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import CheckType, HealthCheck
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import Conflict, HostPortsExhausted, NexusError, NotFound, ProviderFailed, ProviderUnavailable
from nexus_core.ports.provider import InstanceState
from nexus_fakes import FakeRepository
from worlds import ADMIN, spec

T = TypeVar("T")

METHODS = [
    *("create", "start", "stop", "delete", "observe", "authorize", "publish", "withdraw", "handshake", "instances"),
    *(
        "clone",
        "read_files",
        "run_setup",
        "install",
        "start_services",
        "stop_services",
        "restart_service",
        "look",
        "tail",
    ),
]
# Seldom looks and beats: what they cost is the time of these examples.
POLICY = Policy(
    ssh_ports=PortRange(2222, 2224),
    service_ports=PortRange(23000, 23003),
    creations_at_once=2,
    others_at_once=2,
    heartbeat_interval=20,
)
CHECK = HealthCheck(CheckType.TCP, interval=100)
URL = "https://git.example.com/my-org/my-project.git"
NAMES = ["web", "api", "db"]
SERVICES = (
    spec("web", "api", port=3000, health_check=CHECK),
    spec("api", "db", port=4000, health_check=CHECK),
    spec("db", port=5432, health_check=CHECK, expose=False),
)
CONTENTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "services": {"services": SERVICES},
    "set-up": {"setup": ("npm ci",), "services": SERVICES[2:]},
    "repository": {"repository": Repository(url=URL), "credentials": Credentials(token="hunter2")},
}


class WorkspaceLives(RuleBasedStateMachine):
    """One server, one user, three ports, and everything that may happen to them."""

    workspaces = Bundle("workspaces")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.pending: set[asyncio.Future[Any]] = set()
        self.rotations = 0
        self.world, self.death = mortal_world(POLICY)
        self.is_open = False

    def do(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What comes of it; nothing if the server was killed on the way, and then the next one is there already."""
        try:
            return self.runner.run(work)
        except Killed:
            return None
        finally:
            if self.death.is_dead:
                self.runner.run(self.reborn())

    async def reborn(self) -> None:
        for asked in self.pending:
            asked.cancel()  # whoever asked the dead waits in vain
        await asyncio.gather(*self.pending, return_exceptions=True)
        self.pending.clear()
        await reborn(self.world, self.death)
        await self.world.clock.settle()

    @initialize()
    def open(self) -> None:
        async def build() -> None:
            world = self.world
            config = ProjectConfig("config", services=SERVICES[1:], setup=("echo one",), post_start=("echo two",))
            world.project_files.meanings["text"] = config
            world.insides.repositories[URL] = FakeRepository(files={"config": "text"}, token="hunter2")
            await world.__aenter__()

        self.do(build())
        self.is_open = True
        self.alice: Caller = self.world.register()

    def ask(self, work: Coroutine[Any, Any, object]) -> None:
        """Send a request that may take its time; what it answers is looked at in the end."""

        async def send() -> None:
            self.pending.add(asyncio.ensure_future(work))
            await self.world.clock.settle()

        self.do(send())

    @rule(target=workspaces, name=st.sampled_from("abcd"), content=st.sampled_from(sorted(CONTENTS)))
    def create(self, name: str, content: str) -> str:
        async def create() -> str:
            workspace = await self.world.create(self.alice, name, **CONTENTS[content])
            await self.world.clock.settle()
            return workspace.id

        try:
            return self.do(create()) or ""
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

    @rule(workspace=workspaces, name=st.sampled_from(NAMES), port=st.sampled_from([None, None, 23000, 23003]))
    def forward(self, workspace: str, name: str, port: int | None) -> None:
        self.ask(self.world.nexus.forward_port(self.alice, workspace, name, port=port))

    @rule(workspace=workspaces, name=st.sampled_from(NAMES))
    def close_forward(self, workspace: str, name: str) -> None:
        self.ask(self.world.nexus.close_forward(self.alice, workspace, name))

    @rule(workspace=workspaces, name=st.sampled_from(NAMES))
    def restart_service(self, workspace: str, name: str) -> None:
        self.ask(self.world.nexus.restart_service(self.alice, workspace, name))

    @rule(name=st.sampled_from(NAMES), how=st.sampled_from(["well", "crashing", "sick", "slow", "flaky"]))
    def behave(self, name: str, how: str) -> None:
        insides = self.world.insides
        for kind in (insides.crashing, insides.sick, insides.slow):
            kind.discard(name)
        if how == "flaky":
            insides.flaky[name] = 2
        elif how != "well":
            getattr(insides, how).add(name)
        insides.wake()

    @rule(fails=st.booleans())
    def set_up(self, fails: bool) -> None:
        self.world.insides.failing = {"npm ci": 1} if fails else {}

    @rule(port=st.sampled_from([23000, 23001]), listening=st.booleans())
    def another_program(self, port: int, listening: bool) -> None:
        (self.world.publisher.listen if listening else self.world.publisher.stop_listening)(port)

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

    @rule(moments=st.integers(1, 60))
    def be_killed_after(self, moments: int) -> None:
        """Let the server die at some moment of what follows."""
        self.death.begin(moments)

    @rule(workspace=workspaces)
    def machine_goes_down(self, workspace: str) -> None:
        """A container that ran is cut off, and nobody stopped it."""
        name = "nexus-" + workspace.removeprefix("ws-")
        if any((one.name, one.state) == (name, InstanceState.RUNNING) for one in self.world.provider.present()):
            self.world.provider.cut_off(name)
            self.world.insides.wake()

    @rule(workspace=workspaces, vanish=st.booleans())
    def foreign_hand(self, workspace: str, vanish: bool) -> None:
        name = "nexus-" + workspace.removeprefix("ws-")
        if any(one.name == name for one in self.world.provider.present()):
            (self.world.provider.vanish if vanish else self.world.provider.halt)(name)
            self.world.insides.wake()

    @invariant()
    def every_port_has_one_holder_and_every_workspace_its_own(self) -> None:
        if not self.is_open:
            return
        listed, _ = self.world.nexus.list_workspaces(ADMIN, limit=200, offset=0)
        shown = [one.workspace for one in listed]
        ports = [one.ssh_port for one in shown]
        assert len(set(ports)) == len(ports)
        assert set(ports) == self.world.leased()
        services = [service for one in shown for service in self.world.show(one.id).services]
        mapped = [one.mapped_port for one in services if one.mapped_port is not None]
        assert len(set(mapped)) == len(mapped)
        assert self.world.leased(PortKind.SERVICE).issuperset(mapped)

    @invariant()
    def a_workspace_that_runs_has_all_its_services(self) -> None:
        if not self.is_open:
            return
        for listed in self.world.nexus.list_workspaces(ADMIN, status=Status.RUNNING, limit=200, offset=0)[0]:
            statuses = set(self.world.fares(listed.workspace.id).values())
            assert statuses <= {"running", "starting", "unhealthy", "error"}

    def teardown(self) -> None:
        try:
            if self.is_open:
                self.do(self.come_to_rest())
        finally:
            self.runner.close()

    async def come_to_rest(self) -> None:
        world = self.world
        self.death.begin(None)
        world.faults.clear()
        world.provider.available = True
        world.host.listening.clear()
        for name in NAMES:
            world.insides.release(name)
        # Faults that were planned may have put the longest wait between two attempts; then the reconciler comes by.
        await world.clock.advance(120)
        await world.idle()
        for answer in await asyncio.gather(*self.pending, return_exceptions=True):
            assert not isinstance(answer, BaseException) or isinstance(answer, NexusError), answer
        listed, _ = world.nexus.list_workspaces(ADMIN, limit=200, offset=0)
        shown = [one.workspace for one in listed]
        assert {one.status for one in shown}.isdisjoint(IN_TRANSIT)
        for one in shown:
            self.is_as_shown(one)
        for one in shown:
            await world.nexus.delete_workspace(ADMIN, one.id, force=True)
        await world.clock.advance(200)
        assert world.leased() == world.leased(PortKind.SERVICE) == frozenset()
        assert world.provider.present() == []
        assert await world.publisher.published() == {}
        with world.store.snapshot() as records:
            assert all(not records.services.of_workspace(one.id) for one in shown)
            told = repr(records.events.after(0, limit=10_000))
        assert "hunter2" not in told
        await world.__aexit__()

    def is_as_shown(self, shown: Workspace) -> None:
        """What is there is what the records say, at rest."""
        world = self.world
        published = world.host.published.get("server", {})
        instance = {one.name: one for one in world.provider.present()}.get(shown.container_id)
        mapped = {one.mapped_port for one in world.show(shown.id).services} - {None}
        if "clone_repository" in shown.provisioned:
            assert not world.recipe(shown.id).credentials
        if shown.status is Status.RUNNING:
            assert instance is not None
            assert instance.state is InstanceState.RUNNING
            assert {shown.ssh_port, *mapped} <= published.keys()
            assert world.provider.authorized_key(shown.container_id) == world.user(self.alice).public_key
            with world.store.snapshot() as records:
                leased = {one.port for one in records.leases.of_workspace(shown.id)}
            assert leased == {shown.ssh_port, *mapped}
        if shown.status is Status.STOPPED:
            assert instance is None or instance.state is not InstanceState.RUNNING
            assert published.keys().isdisjoint({shown.ssh_port, *mapped})
            assert set(world.fares(shown.id).values()) <= {"stopped"}


TestWorkspaceLives = WorkspaceLives.TestCase
TestWorkspaceLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
