"""Services coming up: each after all it depends on, and what is said of those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import StepName
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.repository import Repository
from nexus_core.domain.service import CheckType, HealthCheck, ServiceSpec
from nexus_core.domain.workspace import Workspace
from nexus_core.engine import service_start
from nexus_core.engine.journal import save_service
from nexus_core.errors import InvalidServiceGraph, ProviderFailed, ProviderUnavailable
from nexus_core.ports.workbench import Happening, Run, ServiceEvent
from nexus_fakes import FakeRepository
from worlds import ADMIN, World, spec

STACK = (spec("web", "api", port=3000), spec("api", "db", port=4000), spec("db", port=5432, expose=False), spec("mail"))
URL = "https://git.example.com/my-org/my-project.git"


def failure_of(world: World, workspace: Workspace) -> tuple[str | None, str, str]:
    """In which step the workspace failed, with which code, and what is said."""
    failed = world.show(workspace.id).workspace
    assert failed.status is Status.ERROR
    assert failed.error is not None
    return failed.error.step, failed.error.code, failed.error.message


def tell(world: World, *events: ServiceEvent) -> None:
    """Let starting services be these events and nothing more; then the container has stopped."""

    async def start(instance: str, run: Run) -> AsyncGenerator[ServiceEvent, None]:
        for event in events:
            yield event

    world.workbench.start = start  # type: ignore[method-assign]  # what the fake does not play


async def test_services_come_up_in_order_and_the_workspace_runs_when_all_are_healthy(world: World) -> None:
    alice = world.register()
    world.insides.slow.add("api")
    workspace = await world.create(alice, services=STACK)
    await world.clock.advance(1)
    assert world.show(workspace.id).workspace.status is Status.CREATING
    assert world.fares(workspace.id) == {"db": "running", "mail": "running", "api": "starting", "web": "pending"}
    world.insides.release("api")
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert set(world.fares(workspace.id).values()) == {"running"}
    assert world.inside(workspace.id).up == ["db", "mail", "api", "web"]
    assert world.service(workspace.id, "api").last_check == world.clock.now()
    assert world.steps(workspace.id)["start_services"] == "done"


async def test_a_list_tells_how_many_there_are(world: World) -> None:
    alice = world.register()
    await world.running(alice, "one", services=STACK)
    await world.running(alice, "two")
    listed, _ = world.nexus.list_workspaces(ADMIN, limit=9, offset=0)
    assert [(one.workspace.name, one.services) for one in listed] == [("two", 0), ("one", 4)]


@pytest.mark.parametrize(
    ("services", "details"),
    [
        ((spec("a", "b"), spec("b", "c"), spec("c", "a")), {"cycle": ["a", "b", "c", "a"]}),
        ((spec("a", "nothing"),), {"service": "a", "unknown": "nothing"}),
    ],
)
async def test_what_has_no_order_is_refused_and_nothing_stored(
    world: World, services: tuple[ServiceSpec, ...], details: dict[str, object]
) -> None:
    with pytest.raises(InvalidServiceGraph) as refused:
        await world.create(world.register(), services=services)
    assert refused.value.details == details
    assert world.leased() == frozenset()
    assert world.nexus.list_workspaces(ADMIN, limit=9, offset=0) == ([], 0)


async def test_one_that_crashes_is_an_error_and_what_needs_it_is_stopped_and_says_so(world: World) -> None:
    world.insides.crashing.add("api")
    workspace = await world.running(world.register(), services=STACK)
    step, code, message = failure_of(world, workspace)
    assert (step, code) == ("start_services", "service_failed")
    assert "Service 'api' did not come up. It ended by itself with exit code 3, 3 times." in message
    assert "depend on it: web." in message
    assert "hello from api" in message
    assert "nexus logs web api" in message
    assert world.fares(workspace.id) == {"db": "running", "mail": "running", "api": "error", "web": "stopped"}
    assert world.service(workspace.id, "api").error == "It ended by itself with exit code 3, 3 times"
    assert world.service(workspace.id, "web").error == "Not started: it depends on api, which failed."
    assert world.inside(workspace.id).up == ["db", "mail"]


async def test_one_that_is_never_healthy_is_an_error(world: World) -> None:
    world.insides.sick.add("db")
    workspace = await world.running(world.register(), services=STACK)
    assert "12 checks in a row" in failure_of(world, workspace)[2]
    await world.clock.advance(6)
    assert world.fares(workspace.id) == {"db": "error", "mail": "running", "api": "stopped", "web": "stopped"}


async def test_one_that_comes_up_after_some_tries_is_as_good_as_any(world: World) -> None:
    world.insides.flaky["db"] = service_start.CRASHES - 1
    workspace = await world.running(world.register(), services=STACK)
    assert workspace.status is Status.RUNNING
    assert world.service(workspace.id, "db").error is None


async def test_while_it_is_tried_again_it_says_why(world: World) -> None:
    world.insides.slow.add("mail")
    ended = ServiceEvent(Happening.ENDED, "db", "It ended", exit_code=1)
    stuck = world.faults.hang("start_services")
    workspace = await world.create(world.register(), services=STACK)
    await stuck.entered.wait()
    inside = world.inside(workspace.id)
    inside.runs["another"] = 0
    stuck.release()
    inside.events.append(ended)
    await world.clock.settle()
    inside.events.append(ended)
    world.insides.wake()
    await world.clock.settle()
    db = world.service(workspace.id, "db")
    assert (db.status, db.error) == ("starting", "It ended; tried again")


async def test_one_that_does_its_work_and_ends_lets_others_go_on(world: World) -> None:
    services = (spec("migration"), spec("api", "migration", port=4000))
    world.insides.finishing.add("migration")
    workspace = await world.running(world.register(), services=services)
    assert workspace.status is Status.RUNNING
    assert world.fares(workspace.id) == {"migration": "stopped", "api": "running"}
    assert world.service(workspace.id, "migration").error is None


async def test_one_that_ends_well_and_should_have_answered_has_failed(world: World) -> None:
    world.insides.finishing.add("db")
    workspace = await world.running(world.register(), services=STACK)
    assert "It ended by itself with exit code 0." in failure_of(world, workspace)[2]


async def test_an_end_by_a_signal_counts_like_any_other(world: World) -> None:
    tell(world, *[ServiceEvent(Happening.ENDED, "mail", "It was ended by the signal KILL")] * 3)
    workspace = await world.running(world.register(), services=(spec("mail"),))
    assert world.service(workspace.id, "mail").error == "It was ended by the signal KILL, 3 times"


async def test_one_that_was_healthy_and_ends_before_all_are_up_is_waited_for(world: World) -> None:
    tell(
        world,
        ServiceEvent(Happening.HEALTHY, "a"),
        ServiceEvent(Happening.ENDED, "a", "It ended", exit_code=1),
        ServiceEvent(Happening.HEALTHY, "b"),
        ServiceEvent(Happening.STARTING, "a"),
        ServiceEvent(Happening.HEALTHY, "a"),
        ServiceEvent(Happening.SCRIPTS_DONE),
    )
    workspace = await world.running(world.register(), services=(spec("a"), spec("b")))
    assert workspace.status is Status.RUNNING
    assert world.fares(workspace.id) == {"a": "running", "b": "running"}


async def test_what_is_told_of_services_nobody_knows_is_passed_over(world: World) -> None:
    unknown = ServiceEvent(Happening.FAILED, "other", "No")
    tell(world, unknown, ServiceEvent(Happening.HEALTHY, "mail"), ServiceEvent(Happening.SCRIPTS_DONE))
    workspace = await world.running(world.register(), services=(spec("mail"),))
    assert workspace.status is Status.RUNNING


async def test_what_is_told_again_is_no_news(world: World) -> None:
    tell(
        world,
        ServiceEvent(Happening.HEALTHY, "a"),
        ServiceEvent(Happening.HEALTHY, "a"),
        ServiceEvent(Happening.HEALTHY, "b"),
    )
    world.faults.slow("install", 3, world.clock)
    workspace = await world.create(world.register(), services=(spec("a"), spec("b")))
    await world.clock.advance(3)
    with world.store.snapshot() as records:
        told = [one.data["service"] for one in records.events.after(0) if one.kind == "service"]
        before = records.services.get(workspace.id, "a")
    assert told == ["a", "b"]
    assert before is not None
    with world.store.transaction() as records:
        moved = replace(before, last_check=world.clock.now() + timedelta(seconds=1))
        assert save_service(records, before, moved, world.clock.now()) == moved
        assert records.services.get(workspace.id, "a") == moved
        assert len([one for one in records.events.after(0) if one.kind == "service"]) == 2


async def test_a_service_that_is_gone_meanwhile_is_let_go(world: World) -> None:
    world.insides.slow.add("mail")
    workspace = await world.create(world.register(), services=(spec("mail"),))
    await world.clock.settle()
    with world.store.transaction() as records:
        records.services.replace(workspace.id, [])
    world.insides.release("mail")
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert world.fares(workspace.id) == {}


async def test_a_container_that_stops_meanwhile_is_an_error(world: World) -> None:
    world.insides.slow.add("api")
    workspace = await world.create(world.register(), services=STACK)
    await world.clock.settle()
    world.halt(workspace.id)
    await world.idle()
    step, code, message = failure_of(world, workspace)
    assert (step, code) == ("start_services", "provider_failed")
    assert "stopped meanwhile" in message


async def test_services_that_take_for_ever_end_at_the_deadline_and_are_named(world: World) -> None:
    world.insides.slow.update({"api", "mail"})
    workspace = await world.create(world.register(), services=STACK)
    await world.clock.advance(world.policy.deadlines[StepName.START_SERVICES])
    step, code, message = failure_of(world, workspace)
    assert (step, code) == ("start_services", "deadline_exceeded")
    assert "Still waited for: api, mail, web." in message


async def test_what_has_no_command_is_not_waited_for(world: World) -> None:
    services = (spec("db", command=None, port=5432), spec("api", "db", port=4000))
    workspace = await world.running(world.register(), services=services)
    assert workspace.status is Status.RUNNING
    assert world.fares(workspace.id) == {"db": "running", "api": "running"}
    assert world.inside(workspace.id).up == ["api"]


async def test_a_stopped_workspace_has_stopped_services_and_a_start_brings_them_back(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=STACK)
    await world.nexus.stop_workspace(alice, workspace.id)
    assert set(world.fares(workspace.id).values()) == {"stopped"}
    assert {str(one.health) for one in world.show(workspace.id).services} == {"unknown"}
    world.insides.slow.add("db")
    world.nexus.start_workspace(alice, workspace.id)
    assert set(world.fares(workspace.id).values()) == {"pending"}
    await world.clock.settle()
    world.insides.release("db")
    await world.idle()
    assert set(world.fares(workspace.id).values()) == {"running"}


async def test_a_start_after_the_cause_is_mended_goes_on_with_what_did_not_come_up(world: World) -> None:
    alice = world.register()
    world.insides.crashing.add("api")
    workspace = await world.running(alice, services=STACK)
    world.insides.crashing.clear()
    world.nexus.start_workspace(alice, workspace.id)
    await world.idle()
    assert world.show(workspace.id).workspace.status is Status.RUNNING
    assert set(world.fares(workspace.id).values()) == {"running"}
    assert world.inside(workspace.id).up == ["db", "mail", "api", "web"]
    assert {one.error for one in world.show(workspace.id).services} == {None}


@pytest.mark.parametrize("method", ["install", "start_services", "stop_services", "tail"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_provider_that_is_away_for_a_while_changes_nothing(world: World, method: str, after: bool) -> None:
    world.insides.crashing.add("api")
    world.faults.fail(method, ProviderUnavailable("LXD is away"), after_effect=after)
    workspace = await world.create(world.register(), services=STACK)
    await world.clock.advance(5)
    assert failure_of(world, workspace)[1] == "service_failed"
    assert world.fares(workspace.id) == {"db": "running", "mail": "running", "api": "error", "web": "stopped"}


@pytest.mark.parametrize("method", ["install", "start_services"])
async def test_a_provider_that_cannot_is_an_error(world: World, method: str) -> None:
    world.faults.fail(method, ProviderFailed("No"))
    workspace = await world.running(world.register(), services=STACK)
    assert failure_of(world, workspace)[:2] == ("start_services", "provider_failed")


class TestScripts:
    async def start(self, world: World, scripts: Sequence[str], *services: ServiceSpec) -> Workspace:
        """A workspace whose repository has these to be run after its start."""
        config = ProjectConfig("config", services=services, post_start=tuple(scripts))
        world.insides.repositories[URL] = FakeRepository(files={"config": "text"})
        world.project_files.meanings["text"] = config
        return await world.create(world.register(), repository=Repository(url=URL))

    async def test_they_run_when_all_services_are_up(self, world: World) -> None:
        world.insides.slow.add("a")
        workspace = await self.start(world, ["echo after"], spec("a"))
        await world.clock.settle()
        assert "after" not in world.inside(workspace.id).log
        world.insides.release("a")
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.inside(workspace.id).log.count("==> echo after") == 1

    async def test_they_run_without_services_too(self, world: World) -> None:
        workspace = await self.start(world, ["echo after"])
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.inside(workspace.id).log.count("==> echo after") == 1

    async def test_one_that_fails_is_an_error(self, world: World) -> None:
        workspace = await self.start(world, ["echo after", "exit 7"], spec("a"))
        await world.idle()
        assert "script number 2 ended with exit code 7" in failure_of(world, workspace)[2]
        assert world.fares(workspace.id) == {"a": "running"}

    async def test_one_that_does_not_end_is_named_at_the_deadline(self, world: World) -> None:
        tell(world, ServiceEvent(Happening.HEALTHY, "a"))
        original = world.workbench.start

        async def start(instance: str, run: Run) -> AsyncGenerator[ServiceEvent, None]:
            async for event in original(instance, run):
                yield event
            await asyncio.Event().wait()

        world.workbench.start = start  # type: ignore[method-assign]  # what the fake does not play
        workspace = await self.start(world, ["sleep"], spec("a"))
        await world.clock.advance(world.policy.deadlines[StepName.START_SERVICES])
        assert "Still waited for: the scripts after the start." in failure_of(world, workspace)[2]


async def test_a_service_that_comes_up_after_another_failed_is_shown_running(world: World) -> None:
    """The others go on: what they do shows, also of those that had not begun when one failed."""
    world.insides.crashing.add("api")
    world.insides.slow.add("base")
    quick = HealthCheck(CheckType.NONE, interval=2)
    services = (spec("api"), spec("base"), replace(spec("late", "base"), health_check=quick))
    workspace = await world.create(world.register(), services=services)
    await world.clock.advance(1)
    assert failure_of(world, workspace)[1] == "service_failed"
    assert world.fares(workspace.id) == {"api": "error", "base": "pending", "late": "pending"}
    await world.clock.advance(10)
    assert world.fares(workspace.id) == {"api": "error", "base": "pending", "late": "pending"}
    world.insides.release("base")
    await world.clock.advance(10)
    assert world.fares(workspace.id) == {"api": "error", "base": "running", "late": "running"}
