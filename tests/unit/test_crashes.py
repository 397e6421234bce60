"""A server killed at every moment of every operation: the next one finishes what was accepted, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress

import pytest

from mortality import Death, Killed, mortal_world, reborn
from nexus_core import Caller, Policy
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import CheckType, HealthCheck
from nexus_core.engine.fault_points import FORWARD, UNFORWARD, every
from nexus_core.errors import ProviderFailed
from nexus_core.ports.provider import InstanceState
from nexus_core.usecases.create_workspace import Retry, WorkspaceRequest
from nexus_fakes import FakeRepository
from worlds import ADMIN, World, spec

URL = "https://git.example.com/my-org/my-project.git"
POLICY = Policy(
    ssh_ports=PortRange(2222, 2225),
    service_ports=PortRange(23000, 23005),
    heartbeat_interval=10,
    reconcile_interval=10,
    orphan_grace=5,
)
CHECK = HealthCheck(CheckType.TCP, interval=100)
SERVICES = (
    spec("web", "db", port=3000, health_check=CHECK),
    spec("db", port=5432, health_check=CHECK, expose=False),
)

Scene = Callable[[World, Caller, str], Awaitable[object]]
"""What is asked of a server that has one workspace, by its id; it returns once it is answered."""


async def create(world: World, alice: Caller, _: str) -> object:
    repository = Repository(url=URL)
    credentials = Credentials(token="hunter2")
    asked = WorkspaceRequest(workspace_name="new", repository=repository, credentials=credentials)
    accepted = await world.nexus.create_workspace(alice, asked, retry=Retry("once", "digest"))
    await world.idle()
    return accepted


async def stop(world: World, alice: Caller, workspace: str) -> object:
    return await world.nexus.stop_workspace(alice, workspace)


async def stop_and_start(world: World, alice: Caller, workspace: str) -> object:
    await world.nexus.stop_workspace(alice, workspace)
    world.nexus.start_workspace(alice, workspace)
    await world.idle()
    return None


async def delete(world: World, alice: Caller, workspace: str) -> object:
    await world.nexus.delete_workspace(alice, workspace, force=True)
    return None


async def rotate(world: World, alice: Caller, _: str) -> object:
    return await world.nexus.rotate_key(alice, "alice", world.keys.sample("another").text, None)


async def forward(world: World, alice: Caller, workspace: str) -> object:
    return await world.nexus.forward_port(alice, workspace, "db")


async def move_forward(world: World, alice: Caller, workspace: str) -> object:
    return await world.nexus.forward_port(alice, workspace, "web", port=23005)


async def close_forward(world: World, alice: Caller, workspace: str) -> object:
    await world.nexus.close_forward(alice, workspace, "web")
    return None


async def retry(world: World, alice: Caller, _: str) -> object:
    world.faults.fail("create", ProviderFailed("No room"))
    repository = Repository(url=URL)
    created = await world.create(alice, "new", repository=repository, credentials=Credentials(token="hunter2"))
    await world.idle()
    world.nexus.start_workspace(alice, created.id)
    await world.idle()
    return None


async def cancel(world: World, alice: Caller, _: str) -> object:
    stuck = world.faults.hang("start")
    created = await world.create(alice, "new", services=SERVICES)
    await stuck.entered.wait()
    return await world.nexus.stop_workspace(alice, created.id)


async def reconcile(world: World, alice: Caller, workspace: str) -> object:
    world.halt(workspace)
    await world.nexus.reconciler.reconcile()
    return None


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        create,
        stop,
        stop_and_start,
        delete,
        rotate,
        forward,
        move_forward,
        close_forward,
        retry,
        cancel,
        reconcile,
    )
}


@pytest.fixture(autouse=True)
def _quiet() -> Generator[None]:
    """What a dying server would say is of no interest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def prepared() -> tuple[World, Death, Caller, str]:
    """An open server with one workspace that runs two services."""
    world, death = mortal_world(POLICY)
    config = ProjectConfig("config", services=SERVICES, setup=("echo one",), post_start=("echo two",))
    world.project_files.meanings["text"] = config
    world.insides.repositories[URL] = FakeRepository(files={"config": "text"}, token="hunter2")
    await world.__aenter__()
    alice = world.register()
    workspace = await world.running(alice, services=SERVICES)
    return world, death, alice, workspace.id


async def play(world: World, death: Death, scene: Scene, alice: Caller, workspace: str) -> bool:
    """Whether the scene was played to its end: otherwise the server was killed on the way."""
    playing = asyncio.ensure_future(scene(world, alice, workspace))
    while not (playing.done() or death.is_dead):
        await world.clock.settle()
    await world.clock.settle()
    playing.cancel()  # whoever asked waits in vain for one that is dead
    with suppress(Killed, asyncio.CancelledError):
        await playing
        return True
    return False


async def settled(world: World) -> None:
    """Let faults be waited out, and the reconciler come by until orphans are gone."""
    await world.clock.advance(45)
    await world.idle()


def check(world: World, alice: Caller) -> None:
    """Nothing is lost, doubled or left behind, and everything is as the records say."""
    views = [world.show(one.workspace.id) for one in world.nexus.list_workspaces(ADMIN, limit=200, offset=0)[0]]
    instances = {one.name: one for one in world.provider.present()}
    assert instances.keys() <= {one.workspace.container_id for one in views}
    published: dict[int, object] = {}
    for view in views:
        shown = view.workspace
        refused = shown.error is not None and "No room" in shown.error.message
        assert shown.status in {Status.RUNNING, Status.STOPPED} or refused, (shown.status, shown.error)
        mapped = {one.mapped_port for one in view.services if one.mapped_port is not None}
        with world.store.snapshot() as records:
            assert records.operations.unfinished(shown.id) is None
            assert {one.port for one in records.leases.of_workspace(shown.id)} == {shown.ssh_port, *mapped}
        is_up = shown.container_id in instances and instances[shown.container_id].state is InstanceState.RUNNING
        assert is_up is (shown.status is Status.RUNNING)
        if is_up:
            assert world.provider.authorized_key(shown.container_id) == world.user(alice).public_key
            assert {str(one.status) for one in view.services} <= {"running"}
            published |= dict.fromkeys((shown.ssh_port or 0, *mapped))
    assert world.host.published["server"].keys() == published.keys()
    assert world.leased() == {one.workspace.ssh_port for one in views}
    assert world.leased(PortKind.SERVICE) == {
        service.mapped_port for one in views for service in one.services if service.mapped_port
    }


@pytest.mark.parametrize("name", SCENES)
async def test_whatever_moment_it_is_killed_at_the_next_server_brings_it_to_its_end(name: str) -> None:
    scene = SCENES[name]
    moment = 0
    is_over = False
    while not is_over:
        moment += 1
        world, death, alice, workspace = await prepared()
        death.begin(moment)
        is_over = await play(world, death, scene, alice, workspace) and not death.is_dead
        await reborn(world, death)
        await settled(world)
        try:
            check(world, alice)
            names = {one.workspace.name for one in world.nexus.list_workspaces(ADMIN, limit=9, offset=0)[0]}
            if is_over:
                made: set[str] = {"new"} if name in {"create", "cancel", "retry"} else set()
                assert names == ({"web"} if name != "delete" else set()) | made
            else:
                assert name == "delete" or "web" in names
        except AssertionError as fault:
            where = death.passed[-1] if death.passed else "nowhere"
            raise AssertionError(f"killed at moment {moment} of {name} ({where})") from fault
        await world.__aexit__()
    assert moment > 3


def test_every_fault_point_has_a_name_of_its_own() -> None:
    points = every()
    assert len(set(points)) == len(points)
    assert {"create.start_instance.acted", "delete.ended", *FORWARD, *UNFORWARD} <= set(points)


async def test_the_scenes_pass_every_fault_point_there_is() -> None:
    passed: set[str] = set()
    for scene in SCENES.values():
        world, death, alice, workspace = await prepared()
        await play(world, death, scene, alice, workspace)
        passed |= set(death.passed)
        await reborn(world, death)
        await world.__aexit__()
    assert set(every()) <= passed
