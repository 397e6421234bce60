"""The health of services that run: looked at in their time, shown as it is, and never guessed."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from nexus_core.domain.service import CheckType, HealthCheck, ServiceSpec
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import (
    DatabaseBusy,
    InvalidRequest,
    NexusError,
    ProviderFailed,
    ProviderUnavailable,
    ServiceNotFound,
    WorkspaceNotFound,
    WorkspaceNotRunning,
)
from nexus_core.ports.store import Records
from worlds import World, spec

CHECK = HealthCheck(CheckType.TCP, interval=5, timeout=5, retries=12)
API = spec("api", port=4000, health_check=CHECK)
SHOWN = 2 * (CHECK.interval + CHECK.timeout)
"""Seconds within which a change has to show."""


async def up(world: World, *services: ServiceSpec) -> Workspace:
    """A workspace that runs, with these services."""
    return await world.running(world.register(), services=services or (API,))


def seen(world: World, workspace: Workspace, name: str = "api") -> tuple[str, str, str | None]:
    one = world.service(workspace.id, name)
    return str(one.status), str(one.health), one.error


def told(world: World, workspace: Workspace) -> list[str]:
    """The statuses of services that events tell of."""
    with world.store.snapshot() as records:
        return [
            one.data["status"] for one in records.events.after(0, workspace_id=workspace.id) if one.kind == "service"
        ]


async def test_one_failed_look_makes_it_unhealthy_and_one_good_one_healthy(world: World) -> None:
    workspace = await up(world)
    world.insides.sick.add("api")
    await world.clock.advance(SHOWN)
    assert seen(world, workspace) == ("unhealthy", "unhealthy", "It is not well")
    assert world.show(workspace.id).workspace.status == "running"
    world.insides.sick.clear()
    await world.clock.advance(SHOWN)
    assert seen(world, workspace) == ("running", "healthy", None)
    assert told(world, workspace) == ["starting", "running", "unhealthy", "running"]


async def test_one_that_did_its_work_is_stopped_and_nothing_is_wrong_with_it(world: World) -> None:
    workspace = await up(world, spec("job"))
    inside = world.inside(workspace.id)
    inside.up.remove("job")
    inside.finished.add("job")
    await world.clock.advance(SHOWN)
    assert seen(world, workspace, "job") == ("stopped", "unknown", None)


async def test_a_healthy_service_is_looked_at_once_an_interval_and_costs_no_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await up(world)
    await world.clock.advance(10)
    before = world.faults.count("look")
    with database_away(world, monkeypatch):
        await world.clock.advance(10 * CHECK.interval)
    assert world.faults.count("look") == before + 10
    last = world.service(workspace.id, "api").last_check
    assert last is not None
    assert (world.clock.now() - last).total_seconds() <= CHECK.interval
    assert seen(world, workspace) == ("running", "healthy", None)


async def test_looks_are_spread_over_the_interval(world: World) -> None:
    await up(world, *(spec(f"s{number}", port=4000 + number, health_check=CHECK) for number in range(20)))
    counts: list[int] = []
    for _ in range(5):
        await world.clock.advance(1)
        counts.append(world.faults.count("look"))
    assert len(set(counts)) >= 4
    assert counts[-1] == 20


@pytest.mark.parametrize("error", [ProviderUnavailable("LXD is away"), ProviderFailed("No")])
async def test_a_look_that_could_not_be_done_changes_nothing(world: World, error: NexusError) -> None:
    workspace = await up(world)
    world.faults.fail("look", error, times=None)
    await world.clock.advance(100)
    assert seen(world, workspace) == ("running", "healthy", None)


async def test_a_look_that_does_not_answer_is_a_timeout(world: World) -> None:
    workspace = await up(world)
    world.faults.hang("look")
    await world.clock.advance(SHOWN + 15)  # first it is found out whether it is the provider that does not answer
    assert told(world, workspace).count("unhealthy") == 1
    with world.store.snapshot() as records:
        [event] = [one for one in records.events.after(0) if one.data.get("health") == "timeout"]
    assert event.data["error"] == "No answer within 5 seconds"


async def test_a_fault_of_our_own_does_not_end_the_watch(world: World, caplog: pytest.LogCaptureFixture) -> None:
    workspace = await up(world)
    world.faults.fail("look", ZeroDivisionError("oops"))
    await world.clock.advance(SHOWN)
    world.insides.sick.add("api")
    await world.clock.advance(SHOWN)
    assert seen(world, workspace)[0] == "unhealthy"
    assert "ZeroDivisionError" in caplog.text


@contextmanager
def database_away(world: World, monkeypatch: pytest.MonkeyPatch, *, reading: bool = False) -> Generator[None]:
    """Nothing can be written meanwhile, or not even read."""

    @contextmanager
    def failing() -> Generator[Records]:
        if world:
            raise DatabaseBusy("Locked")
        yield from ()

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "transaction", failing)
        if reading:
            patch.setattr(world.store, "snapshot", failing)
        yield


@pytest.mark.parametrize("reading", [False, True])
async def test_what_cannot_be_written_is_written_later(
    world: World, monkeypatch: pytest.MonkeyPatch, reading: bool, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = await up(world)
    await world.clock.advance(10)
    world.insides.sick.add("api")
    with database_away(world, monkeypatch, reading=reading):
        await world.clock.advance(SHOWN)
        world.nexus.monitor.nudge()
        await world.clock.advance(1)
    assert seen(world, workspace)[0] == "running"
    assert "a look at api failed" in caplog.text
    assert ("cannot see which services there are" in caplog.text) is reading
    await world.clock.advance(SHOWN)
    assert seen(world, workspace)[0] == "unhealthy"


async def test_services_of_stopped_and_deleted_workspaces_are_not_looked_at(world: World) -> None:
    alice = world.register()
    one = await world.running(alice, "one", services=(API,))
    two = await world.running(alice, "two", services=(API,))
    await world.clock.advance(10)
    await world.nexus.stop_workspace(alice, one.id)
    await world.nexus.delete_workspace(alice, two.id, force=True)
    await world.clock.settle()
    before = world.faults.count("look")
    await world.clock.advance(100)
    assert world.faults.count("look") == before


async def test_a_workspace_that_failed_has_its_services_looked_after(world: World) -> None:
    world.insides.crashing.add("web")
    workspace = await up(world, API, spec("web", "api", port=3000))
    assert world.show(workspace.id).workspace.status == "error"
    world.insides.sick.add("api")
    await world.clock.advance(SHOWN)
    assert world.fares(workspace.id) == {"api": "unhealthy", "web": "error"}
    world.inside(workspace.id).up.append("web")
    await world.clock.advance(SHOWN)
    assert world.fares(workspace.id) == {"api": "unhealthy", "web": "running"}


async def test_one_that_was_shown_stopped_meanwhile_stays_so(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice, services=(API,))
    world.insides.sick.add("api")
    stuck = world.faults.hang("look", after_effect=True)
    await world.clock.advance(6)
    await stuck.entered.wait()
    inner = world.nexus.monitor._watches
    [charge] = inner
    await world.nexus.engine.close()
    with world.store.transaction() as records:
        one = records.services.get(workspace.id, "api")
        assert one is not None
        records.services.update(replace(one, status=type(one.status).STOPPED))
    stuck.release()
    await world.clock.settle()
    assert charge.spec == API
    assert seen(world, workspace)[0] == "stopped"


async def test_one_without_a_command_is_not_looked_at(world: World) -> None:
    workspace = await up(world, spec("db", command=None, port=5432))
    await world.clock.advance(200)
    assert world.faults.count("look") == 0
    assert seen(world, workspace, "db") == ("running", "unknown", None)


async def test_a_restarted_server_looks_after_what_it_finds(world: World) -> None:
    workspace = await up(world)
    await world.restart()
    world.insides.sick.add("api")
    await world.clock.advance(SHOWN)
    assert seen(world, workspace)[0] == "unhealthy"


class TestRestarting:
    async def test_it_is_starting_and_shown_running_as_soon_as_it_is(self, world: World) -> None:
        alice = world.register()
        patient = replace(API, health_check=replace(CHECK, interval=3600))
        workspace = await world.running(alice, services=(patient,))
        await world.clock.advance(100)
        world.insides.slow.add("api")
        restarted = await world.nexus.restart_service(alice, workspace.id, "api")
        assert (restarted.status, restarted.health) == ("starting", "unknown")
        await world.clock.advance(3)
        assert seen(world, workspace)[0] == "starting"
        world.insides.release("api")
        await world.clock.advance(2)
        assert seen(world, workspace) == ("running", "healthy", None)
        before = world.faults.count("look")
        await world.clock.advance(1000)
        assert world.faults.count("look") <= before + 1

    async def test_one_that_never_comes_up_again_is_an_error_after_its_patience(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, services=(API,))
        world.insides.slow.add("api")
        await world.nexus.restart_service(alice, workspace.id, "api")
        await world.clock.advance(CHECK.patience - 1)
        assert seen(world, workspace)[0] == "starting"
        await world.clock.advance(3)
        assert seen(world, workspace) == ("error", "unhealthy", "It is not well")
        await world.nexus.restart_service(alice, workspace.id, "api")
        assert seen(world, workspace) == ("starting", "unknown", None)

    async def test_what_depends_on_it_goes_on(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, services=(API, spec("web", "api", port=3000)))
        await world.nexus.restart_service(alice, workspace.id, "api")
        assert world.fares(workspace.id) == {"api": "starting", "web": "running"}

    async def test_what_cannot_be_restarted_says_so(self, world: World) -> None:
        alice, bob = world.register("alice"), world.register("bob")
        workspace = await world.running(alice, services=(API, spec("db", command=None, port=5432)))
        restart = world.nexus.restart_service
        with pytest.raises(InvalidRequest, match="no command"):
            await restart(alice, workspace.id, "db")
        with pytest.raises(ServiceNotFound):
            await restart(alice, workspace.id, "nothing")
        with pytest.raises(WorkspaceNotFound):
            await restart(bob, workspace.id, "api")
        world.provider.available = False
        with pytest.raises(ProviderUnavailable):
            await restart(alice, workspace.id, "api")
        assert seen(world, workspace)[0] == "running"
        world.provider.available = True
        await world.nexus.stop_workspace(alice, workspace.id)
        with pytest.raises(WorkspaceNotRunning):
            await restart(alice, workspace.id, "api")

    async def test_a_workspace_that_stopped_meanwhile_keeps_its_services_stopped(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, services=(API,))
        original = world.workbench.restart

        async def restart(instance: str, service: str) -> None:
            await original(instance, service)
            await world.nexus.stop_workspace(alice, workspace.id)

        world.workbench.restart = restart  # type: ignore[method-assign]  # somebody stops it just then
        with pytest.raises(WorkspaceNotRunning):
            await world.nexus.restart_service(alice, workspace.id, "api")
        assert seen(world, workspace)[0] == "stopped"


async def test_what_happens_to_the_monitor_is_said_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await up(world)
    world.faults.fail("look", ProviderUnavailable("LXD is away"))
    await world.clock.advance(6)
    assert "could not look at api: LXD is away" in caplog.text
