"""What every `Workbench` promises, by ports/workbench.py.

A test module of an adapter derives from `WorkbenchContract` and gives it a fixture ``stage``. Set-up scripts are
``echo TEXT`` and ``exit CODE`` only, so that anything that runs them takes part; what time passes is the machine's own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

import pytest

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Repository
from nexus_core.domain.service import Health, ServiceSpec
from nexus_core.errors import BundleMissing, CloneFailed, InstanceMissing, InstanceStopped, ProviderFailed, SetupFailed
from nexus_core.ports.workbench import Checkout, Happening, Run, ServiceEvent, Source, Workbench

MakeService = Callable[..., ServiceSpec]


@dataclass(frozen=True)
class WorkbenchStage:
    """A workbench, a new running instance for it to work in, and what can be put there.

    The makers of services take a name and the names of what it depends on. ``healthy`` makes one that writes
    ``hello from NAME`` and comes up, ``crashing`` one that ends with exit code 3 whenever it starts, ``sick`` one
    that runs, is never healthy and has failed within ``patience`` seconds, and ``finishing`` one without a check
    that ends with exit code 0 at once.
    """

    workbench: Workbench
    instance: str
    stopped: str  # another instance, which does not run
    url: str  # a repository anyone may clone
    branches: Mapping[str, str]  # its branches' commits, its own first
    files: Mapping[str, str]  # of every branch
    healthy: MakeService
    crashing: MakeService
    sick: MakeService
    finishing: MakeService
    reboot: Callable[[], Awaitable[None]]  # the instance stops and starts again
    patience: float = 20.0


def run() -> Run:
    """A run that nobody began before."""
    return Run(f"op-{secrets.token_hex(6)}", 60.0)


async def events_until(
    stage: WorkbenchStage, the_run: Run, *last: tuple[Happening, str], times: int = 1
) -> list[ServiceEvent]:
    """What happens from the beginning of this run until all of these have, the last of them so many times."""
    told: list[ServiceEvent] = []
    async with asyncio.timeout(stage.patience), aclosing(stage.workbench.start(stage.instance, the_run)) as events:
        async for event in events:
            told.append(event)
            seen = [(one.kind, one.service) for one in told]
            if all(seen.count(one) >= (times if one == last[-1] else 1) for one in last):
                return told
    raise AssertionError(f"ended after {told}")


def kinds(events: list[ServiceEvent], service: str) -> list[Happening]:
    return [one.kind for one in events if one.service == service]


class WorkbenchContract:
    """Derive from it and provide ``stage``."""

    # --- repositories ---

    async def test_a_clone_tells_branch_and_commit_and_its_files_are_there(self, stage: WorkbenchStage) -> None:
        checkout = await stage.workbench.clone(stage.instance, Source(Repository(url=stage.url)), run())
        branch, commit = next(iter(stage.branches.items()))
        assert checkout == Checkout(branch, commit)
        found = await stage.workbench.read_files(stage.instance, [*stage.files, "no/such/file"])
        assert found == stage.files

    async def test_a_branch_can_be_named(self, stage: WorkbenchStage) -> None:
        branch, commit = list(stage.branches.items())[-1]
        source = Source(Repository(url=stage.url, branch=branch))
        assert await stage.workbench.clone(stage.instance, source, run()) == Checkout(branch, commit)

    async def test_a_repository_that_is_in_place_stays_as_it_is(self, stage: WorkbenchStage) -> None:
        first = await stage.workbench.clone(stage.instance, Source(Repository(url=stage.url)), run())
        elsewhere = Source(Repository(url=f"{stage.url}-that-does-not-exist"))
        assert await stage.workbench.clone(stage.instance, elsewhere, run()) == first

    async def test_what_cannot_be_cloned_says_why_and_can_be_tried_anew(self, stage: WorkbenchStage) -> None:
        the_run, wrong = run(), Source(Repository(url=stage.url, branch="no-such-branch"))
        for _ in range(2):
            with pytest.raises(CloneFailed) as refused:
                await stage.workbench.clone(stage.instance, wrong, the_run)
            assert "git says" in refused.value.why
            assert "no-such-branch" in refused.value.why
        assert await stage.workbench.clone(stage.instance, Source(Repository(url=stage.url)), run())

    async def test_a_bundle_has_to_be_there(self, stage: WorkbenchStage) -> None:
        with pytest.raises(BundleMissing):
            await stage.workbench.clone(stage.instance, Source(Repository(bundle=True)), run())

    async def test_without_a_repository_there_are_no_files(self, stage: WorkbenchStage) -> None:
        assert await stage.workbench.read_files(stage.instance, list(stage.files)) == {}

    # --- set-up ---

    async def test_scripts_run_in_order_and_write_to_the_log(self, stage: WorkbenchStage) -> None:
        await stage.workbench.run_setup(stage.instance, Recipe(setup=("echo first", "echo second")), run())
        lines = (await stage.workbench.tail(stage.instance, None, lines=100)).splitlines()
        assert [line for line in lines if line in ("first", "second")] == ["first", "second"]

    async def test_a_script_that_fails_is_told_again_and_what_is_done_is_not_done_again(
        self, stage: WorkbenchStage
    ) -> None:
        the_run, recipe = run(), Recipe(setup=("echo first", "exit 3", "echo third"))
        for _ in range(2):
            with pytest.raises(SetupFailed) as failed:
                await stage.workbench.run_setup(stage.instance, recipe, the_run)
            assert "script 2 of 3" in failed.value.what
            assert "exit code 3" in failed.value.what
        await stage.workbench.run_setup(
            stage.instance, Recipe(setup=("echo first", "echo mended", "echo third")), run()
        )
        lines = (await stage.workbench.tail(stage.instance, None, lines=100)).splitlines()
        said = [line for line in lines if line in ("first", "mended", "third")]
        assert said == ["first", "mended", "third"]

    async def test_no_scripts_are_done_at_once(self, stage: WorkbenchStage) -> None:
        await stage.workbench.run_setup(stage.instance, Recipe(), run())

    # --- services ---

    async def test_services_start_when_all_they_depend_on_are_healthy(self, stage: WorkbenchStage) -> None:
        services = [stage.healthy("web", "api", "db"), stage.healthy("api", "db"), stage.healthy("db")]
        await stage.workbench.install(stage.instance, services, Recipe())
        events = await events_until(stage, run(), (Happening.HEALTHY, "web"))
        told = [(one.kind, one.service) for one in events]
        order = [told.index((kind, name)) for name in ("db", "api", "web") for kind in (_STARTING, _HEALTHY)]
        assert order == sorted(order)
        for service in services:
            assert (await stage.workbench.look(stage.instance, service)).health is Health.HEALTHY

    async def test_the_same_run_is_told_from_its_beginning_and_another_what_is_healthy(
        self, stage: WorkbenchStage
    ) -> None:
        the_run = run()
        await stage.workbench.install(stage.instance, [stage.healthy("api")], Recipe())
        first = await events_until(stage, the_run, (Happening.HEALTHY, "api"))
        assert await events_until(stage, the_run, (Happening.HEALTHY, "api")) == first
        assert kinds(await events_until(stage, run(), (Happening.HEALTHY, "api")), "api") == [_HEALTHY]

    async def test_installing_again_disturbs_nothing(self, stage: WorkbenchStage) -> None:
        services = [stage.healthy("api")]
        for _ in range(2):
            await stage.workbench.install(stage.instance, services, Recipe())
            await events_until(stage, run(), (Happening.HEALTHY, "api"))
        assert (await stage.workbench.tail(stage.instance, "api", lines=100)).count("hello from api") == 1

    async def test_one_that_crashes_is_tried_again_and_what_needs_it_is_not_started(
        self, stage: WorkbenchStage
    ) -> None:
        services = [stage.crashing("api"), stage.healthy("web", "api"), stage.healthy("mail")]
        await stage.workbench.install(stage.instance, services, Recipe())
        events = await events_until(stage, run(), (Happening.HEALTHY, "mail"), (Happening.ENDED, "api"), times=3)
        ended = [one for one in events if one.kind is Happening.ENDED]
        assert {(one.service, one.exit_code) for one in ended} == {("api", 3)}
        assert all("exit code 3" in one.reason for one in ended)
        assert kinds(events, "web") == []
        assert (await stage.workbench.look(stage.instance, services[1])).health is not Health.HEALTHY

    async def test_one_that_is_never_healthy_has_failed_in_its_time(self, stage: WorkbenchStage) -> None:
        services = [stage.sick("api"), stage.healthy("web", "api")]
        await stage.workbench.install(stage.instance, services, Recipe())
        events = await events_until(stage, run(), (Happening.FAILED, "api"))
        assert kinds(events, "api") == [_STARTING, Happening.FAILED]
        assert events[-1].reason
        assert kinds(events, "web") == []
        look = await stage.workbench.look(stage.instance, services[0])
        assert look.health is not Health.HEALTHY
        assert look.reason

    async def test_what_needs_one_that_did_its_work_goes_on(self, stage: WorkbenchStage) -> None:
        services = [stage.finishing("migration"), stage.healthy("api", "migration")]
        await stage.workbench.install(stage.instance, services, Recipe())
        events = await events_until(stage, run(), (Happening.HEALTHY, "api"))
        assert [one.exit_code for one in events if one.kind is Happening.ENDED] == [0]
        assert (await stage.workbench.look(stage.instance, services[0])).health is Health.UNKNOWN
        again = await events_until(stage, run(), (Happening.HEALTHY, "api"), (Happening.ENDED, "migration"))
        assert kinds(again, "migration") == [Happening.ENDED]

    async def test_what_is_stopped_stays_so_until_the_next_start(self, stage: WorkbenchStage) -> None:
        services = [stage.healthy("api"), stage.healthy("mail")]
        await stage.workbench.install(stage.instance, services, Recipe())
        await events_until(stage, run(), (Happening.HEALTHY, "api"), (Happening.HEALTHY, "mail"))
        await stage.workbench.stop(stage.instance, ["api", "no-such-service"])
        await stage.workbench.stop(stage.instance, ["api"])
        looks = [(await stage.workbench.look(stage.instance, one)).health for one in services]
        assert [one is Health.HEALTHY for one in looks] == [False, True]
        events = await events_until(stage, run(), (Happening.HEALTHY, "api"))
        assert kinds(events, "api")[-2:] == [_STARTING, _HEALTHY]

    async def test_a_restart_begins_it_anew_and_leaves_the_rest(self, stage: WorkbenchStage) -> None:
        services = [stage.healthy("api"), stage.healthy("web", "api")]
        the_run = run()
        await stage.workbench.install(stage.instance, services, Recipe())
        await events_until(stage, the_run, (Happening.HEALTHY, "web"))
        await stage.workbench.restart(stage.instance, "api")
        events = await events_until(stage, the_run, (Happening.HEALTHY, "web"), (Happening.HEALTHY, "api"), times=2)
        assert kinds(events, "web") == [_STARTING, _HEALTHY]
        with pytest.raises(ProviderFailed):
            await stage.workbench.restart(stage.instance, "no-such-service")

    async def test_services_come_up_by_themselves_when_the_instance_starts_again(self, stage: WorkbenchStage) -> None:
        service = stage.healthy("api")
        await stage.workbench.install(stage.instance, [service], Recipe())
        await events_until(stage, run(), (Happening.HEALTHY, "api"))
        await stage.reboot()
        async with asyncio.timeout(stage.patience):
            health = Health.UNKNOWN
            while health is not Health.HEALTHY:
                with suppress(ProviderFailed, InstanceStopped):
                    health = (await stage.workbench.look(stage.instance, service)).health
                await asyncio.sleep(0.05)
        assert kinds(await events_until(stage, run(), (Happening.HEALTHY, "api")), "api") == [_HEALTHY]

    async def test_scripts_after_the_start_run_when_all_services_are_up(self, stage: WorkbenchStage) -> None:
        recipe = Recipe(post_start=("echo after",))
        await stage.workbench.install(stage.instance, [stage.healthy("api")], recipe)
        events = await events_until(stage, run(), (Happening.SCRIPTS_DONE, ""))
        assert kinds(events, "api")[-1] is _HEALTHY
        assert "after" in (await stage.workbench.tail(stage.instance, None, lines=100)).splitlines()
        again = await events_until(stage, run(), (Happening.HEALTHY, "api"), (Happening.SCRIPTS_DONE, ""))
        assert len(again) == 2

    async def test_a_script_after_the_start_that_fails_is_named(self, stage: WorkbenchStage) -> None:
        recipe = Recipe(post_start=("echo after", "exit 7"))
        await stage.workbench.install(stage.instance, [stage.healthy("api")], recipe)
        events = await events_until(stage, run(), (Happening.SCRIPT_FAILED, ""))
        assert "number 2 ended with exit code 7" in events[-1].reason

    # --- logs ---

    async def test_a_services_output_is_its_own(self, stage: WorkbenchStage) -> None:
        await stage.workbench.install(stage.instance, [stage.healthy("api"), stage.healthy("web")], Recipe())
        await events_until(stage, run(), (Happening.HEALTHY, "api"), (Happening.HEALTHY, "web"))
        text = await stage.workbench.tail(stage.instance, "api", lines=100)
        assert "hello from api\n" in text
        assert "hello from web" not in text
        assert await stage.workbench.tail(stage.instance, "no-such-service", lines=100) == ""

    async def test_no_more_lines_are_shown_than_asked_for(self, stage: WorkbenchStage) -> None:
        await stage.workbench.run_setup(stage.instance, Recipe(setup=("echo first", "echo second")), run())
        assert await stage.workbench.tail(stage.instance, None, lines=1) == "second\n"
        assert await stage.workbench.tail(stage.instance, None, lines=0) == ""

    async def test_a_log_is_followed(self, stage: WorkbenchStage) -> None:
        await stage.workbench.run_setup(stage.instance, Recipe(setup=("echo first",)), run())
        seen = b""
        async with asyncio.timeout(stage.patience):
            async with aclosing(stage.workbench.follow(stage.instance, None, lines=1)) as followed:
                while b"first\n" not in seen:
                    seen += await anext(followed)
                more = asyncio.create_task(
                    stage.workbench.run_setup(stage.instance, Recipe(setup=("echo second",)), run())
                )
                while b"second\n" not in seen:
                    seen += await anext(followed)
                await more

    # --- where nothing can be done ---

    async def test_nothing_can_be_done_in_an_instance_that_does_not_run(self, stage: WorkbenchStage) -> None:
        for work in (
            stage.workbench.run_setup(stage.stopped, Recipe(setup=("echo first",)), run()),
            stage.workbench.stop(stage.stopped, ["api"]),
            stage.workbench.restart(stage.stopped, "api"),
            stage.workbench.tail(stage.stopped, "api", lines=1),
        ):
            with pytest.raises(InstanceStopped):
                await work
        for stream in (
            stage.workbench.start(stage.stopped, run()),
            stage.workbench.follow(stage.stopped, "api", lines=1),
        ):
            with pytest.raises(InstanceStopped):
                await anext(stream)
        with pytest.raises(InstanceStopped):
            await stage.workbench.look(stage.stopped, stage.healthy("api"))

    async def test_the_log_of_a_stopped_instance_is_shown(self, stage: WorkbenchStage) -> None:
        assert await stage.workbench.tail(stage.stopped, None, lines=10) == ""

    async def test_there_is_nothing_inside_an_instance_that_does_not_exist(self, stage: WorkbenchStage) -> None:
        nowhere = "nexus-nothing"
        with pytest.raises(InstanceMissing):
            await stage.workbench.clone(nowhere, Source(Repository(url=stage.url)), run())
        with pytest.raises(InstanceMissing):
            await stage.workbench.tail(nowhere, None, lines=1)


_STARTING, _HEALTHY = Happening.STARTING, Happening.HEALTHY
