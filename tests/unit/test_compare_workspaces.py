"""Containers and work compared with the records: every difference is found, and only orphans are touched."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.workspace import Failure, Workspace
from nexus_core.errors import ProviderFailed, StoreFailed
from nexus_core.policy import Policy
from nexus_core.ports.provider import InstanceState
from nexus_core.ports.store import Records, Store
from nexus_core.usecases.compare_workspaces import CompareWorkspaces
from nexus_core.usecases.comparison import LISTING, Sides
from worlds import World

LXC = "lxc --project nexus"


@dataclass
class Restored:
    """The records of a store as they are after a backup was put in place."""

    store: Store
    restored_at: datetime | None

    def snapshot(self) -> AbstractContextManager[Records]:
        return self.store.snapshot()


class Away(Restored):
    """Records that cannot be read."""

    def snapshot(self) -> AbstractContextManager[Records]:
        raise StoreFailed("The database failed", why="The file is damaged.")


def sides(world: World, *, served: bool = True) -> Sides:
    return Sides(world.store, world.provider, world.publisher, world.clock, world.policy, lambda: served)


def compare(world: World, *, served: bool = True) -> CompareWorkspaces:
    return CompareWorkspaces(sides(world, served=served), lxc=LXC)


async def found(world: World, *, served: bool = True) -> list[Finding]:
    """What is not well."""
    return [one for one in await compare(world, served=served).examine() if one.verdict is not Verdict.OK]


def change(world: World, workspace: Workspace, **fields: object) -> None:
    """Let the records say something else, as no operation would."""
    with world.store.transaction() as records:
        latest = records.workspaces.get(workspace.id)
        assert latest is not None
        records.workspaces.update(replace(latest, **fields))  # type: ignore[arg-type]  # fields of a test's choice


def orphan(world: World, workspace: Workspace, *, age: float | None) -> str:
    """Let the records forget a workspace whose container is this old."""
    change(world, workspace, status=Status.DELETED, deleted_at=world.clock.now())
    container = world.provider.node.containers[workspace.container_id]
    made = None if age is None else world.clock.now() - timedelta(seconds=age)
    container.instance = replace(container.instance, created_at=made)
    return workspace.container_id


class TestContract(ExaminerContract):
    @pytest.fixture
    async def stage(self, world: World) -> ExaminerStage:
        alice = world.register()
        await world.running(alice)
        spare = await world.running(alice, "spare")
        return ExaminerStage(compare(world), lambda: orphan(world, spare, age=3600))


async def test_a_server_without_workspaces(world: World) -> None:
    assert [one.says for one in await compare(world).examine()] == [
        "0, 0 of them running",
        "none is under way",
        "0, and each is as the records say",
    ]


class TestOrphans:
    async def test_a_young_one_is_given_time(self, world: World) -> None:
        name = orphan(world, await world.running(world.register()), age=5)
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict, finding.mend) == (name, Verdict.WARNING, None)
        assert "5 s after it was made" in finding.says

    async def test_one_of_unknown_age_is_left_to_people(self, world: World) -> None:
        name = orphan(world, await world.running(world.register()), age=None)
        (finding,) = await found(world)
        assert (finding.verdict, finding.mend) == (Verdict.WARNING, None)
        assert f"`{LXC} delete --force {name}`" in finding.fix

    @pytest.mark.parametrize("age", [3600, None])
    async def test_one_that_a_restored_backup_may_not_know_is_spared(self, world: World, age: float | None) -> None:
        name = orphan(world, await world.running(world.register()), age=age)
        restored = Restored(world.store, world.clock.now())
        examiner = CompareWorkspaces(replace(sides(world), store=restored), lxc=LXC)
        (finding,) = [one for one in await examiner.examine() if one.verdict is not Verdict.OK]
        assert finding.mend is None
        assert f"{LXC} delete --force {name}" in finding.fix
        assert f"{LXC} config unset {name} user.nexus.server" in finding.fix
        mended = await examiner.mend(replace(finding, mend=name))
        assert mended.verdict is Verdict.FAILURE
        assert len(world.provider.present()) == 1

    async def test_one_that_was_made_after_the_backup_was_restored_is_removed(self, world: World) -> None:
        name = orphan(world, await world.running(world.register()), age=3600)
        restored = Restored(world.store, world.clock.now() - timedelta(days=1))
        examiner = CompareWorkspaces(replace(sides(world), store=restored), lxc=LXC)
        (finding,) = [one for one in await examiner.examine() if one.verdict is not Verdict.OK]
        assert finding.mend == name
        assert (await examiner.mend(finding)).verdict is Verdict.OK
        assert world.provider.present() == []

    async def test_one_that_turns_out_to_belong_to_a_workspace_stays(self, world: World) -> None:
        workspace = await world.running(world.register())
        orphan(world, workspace, age=3600)
        (finding,) = await found(world)
        change(world, workspace, status=Status.RUNNING, deleted_at=None)
        mended = await compare(world).mend(finding)
        assert (mended.verdict, mended.says) == (Verdict.FAILURE, "is not removed: it is not as it was")
        assert len(world.provider.present()) == 1

    async def test_a_refusal_is_said(self, world: World) -> None:
        orphan(world, await world.running(world.register()), age=3600)
        (finding,) = await found(world)
        world.faults.fail("delete", ProviderFailed("LXD could not delete it", why="It is busy."))
        mended = await compare(world).mend(finding)
        assert mended.says == "was not removed: LXD could not delete it: It is busy"
        assert mended.verdict is Verdict.FAILURE


class TestContainers:
    @pytest.mark.parametrize(
        ("state", "served", "fix"),
        [
            (InstanceState.STOPPED, True, "The server looks into it; then `nexus start web` brings it up"),
            (InstanceState.FROZEN, False, "Start the server (`nexus serve`), which looks into it"),
        ],
    )
    async def test_one_that_does_not_run(self, world: World, state: InstanceState, served: bool, fix: str) -> None:
        workspace = await world.running(world.register())
        world.provider.halt(workspace.container_id, state)
        (finding,) = await found(world, served=served)
        assert (finding.subject, finding.verdict, finding.mend) == ("alice/web", Verdict.FAILURE, None)
        assert f"its container {workspace.container_id} is {state}" in finding.says
        assert finding.fix.startswith(fix)

    async def test_one_that_runs_though_it_is_stopped(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice)
        await world.nexus.stop_workspace(alice, workspace.id)
        assert await found(world) == []
        await world.provider.start(workspace.container_id)
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("alice/web", Verdict.WARNING)
        assert finding.says.endswith("runs")

    async def test_one_that_is_gone(self, world: World) -> None:
        workspace = await world.running(world.register())
        world.provider.vanish(workspace.container_id)
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("alice/web", Verdict.FAILURE)
        assert "`nexus rm --force web`" in finding.fix

    async def test_one_that_was_renamed(self, world: World) -> None:
        workspace = await world.running(world.register())
        container = world.provider.node.containers.pop(workspace.container_id)
        container.instance = replace(container.instance, name="mine")
        world.provider.node.containers["mine"] = container
        (finding,) = await found(world)
        assert finding.says.endswith("it was renamed to mine")
        assert f"`{LXC} rename mine {workspace.container_id}`" in finding.fix

    async def test_a_workspace_that_never_had_one_misses_none(self, world: World) -> None:
        alice = world.register()
        world.faults.fail("create", ProviderFailed("LXD cannot", why="The disk is full."), times=None)
        await world.running(alice)
        (finding,) = await found(world)
        assert finding.verdict is Verdict.WARNING
        assert finding.says.startswith("is in error at create_instance: ")
        assert finding.fix.startswith("`nexus start web` goes on from there")

    async def test_an_error_without_a_step(self, world: World) -> None:
        workspace = await world.running(world.register())
        change(world, workspace, status=Status.ERROR, error=Failure("instance_missing", "It is gone.", None))
        (finding,) = await found(world)
        assert finding.says == "is in error: It is gone"

    async def test_a_status_that_nobody_works_on(self, world: World) -> None:
        workspace = await world.running(world.register())
        change(world, workspace, status=Status.STOPPING)
        (finding,) = await found(world)
        assert finding.verdict is Verdict.FAILURE
        assert finding.says == "is stopping, and nobody is at work on it"


class TestWork:
    async def test_none_that_is_late(self, world: World) -> None:
        stuck = world.faults.hang("create")
        await world.create(world.register())
        await stuck.entered.wait()
        assert await found(world) == []
        assert "under way: 1, none of them late" in [one.says for one in await compare(world).examine()]

    async def test_what_waits_for_its_turn_is_not_late(self) -> None:
        async with World(policy=Policy(creations_at_once=1)) as world:
            alice = world.register()
            stuck = world.faults.hang("create")
            for name in ("first", "second"):
                await world.create(alice, name)
            await stuck.entered.wait()
            world.clock.jump(2000)
            assert [one.subject for one in await found(world)] == ["alice/first"]

    async def test_a_step_that_takes_longer_than_it_may(self, world: World) -> None:
        stuck = world.faults.hang("create")
        await world.create(world.register())
        await stuck.entered.wait()
        world.clock.jump(2000)
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("alice/web", Verdict.WARNING)
        assert finding.says == "has been at create_instance for 2000 s, longer than the 900 s it may take"
        assert "`nexus stop --force web`" in finding.fix

    async def test_without_a_server_it_waits(self, world: World) -> None:
        stuck = world.faults.hang("create")
        await world.create(world.register())
        await stuck.entered.wait()
        (finding,) = await found(world, served=False)
        assert (finding.subject, finding.verdict) == ("work", Verdict.WARNING)
        assert finding.says == "operations that are not over: 1"


class TestAway:
    async def test_a_provider_that_is_away_hides_containers_only(self, world: World) -> None:
        workspace = await world.running(world.register())
        change(world, workspace, status=Status.ERROR, error=Failure("x", "It broke.", None))
        world.provider.available = False
        trouble, containers = await found(world)
        assert trouble.subject == "alice/web"
        assert containers.says == "not compared: The provider does not answer: The fake is away"

    async def test_a_list_that_never_comes(self, world: World) -> None:
        world.faults.hang("instances")
        looking = asyncio.create_task(found(world))
        await world.clock.advance(LISTING + 1)
        (finding,) = await looking
        assert finding.says == "not compared: The provider does not answer: Its list takes too long"

    async def test_records_that_cannot_be_read(self, world: World) -> None:
        examiner = CompareWorkspaces(replace(sides(world), store=Away(world.store, None)), lxc=LXC)
        (finding,) = await examiner.examine()
        assert finding.says == "not compared: The database failed: The file is damaged"
        assert finding.verdict is Verdict.WARNING
