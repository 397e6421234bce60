"""The fake workbench keeps the workbench's promises, and breaks them when told to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from contracts.provider_contract import specs_of
from contracts.workbench_contract import MakeService, WorkbenchContract, WorkbenchStage, run
from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import Health, ServiceSpec
from nexus_core.errors import CloneFailed, ProviderFailed, ProviderUnavailable
from nexus_core.ports.workbench import Checkout, Happening, ServiceEvent, Source
from nexus_fakes import FakeInsides, FakeProvider, FakeRepository, FakeWorkbench
from worlds import spec

URL = "https://git.example.com/my-org/my-project.git"


@pytest.fixture
async def provider() -> FakeProvider:
    """Two containers, of which one runs."""
    provider = FakeProvider()
    make = specs_of("nexus-base")
    for name in ("nexus-one", "nexus-stopped"):
        await provider.create(make(name=name))
    await provider.start("nexus-one")
    return provider


@pytest.fixture
def workbench(provider: FakeProvider) -> FakeWorkbench:
    return FakeWorkbench(provider)


class TestFakeWorkbench(WorkbenchContract):
    @pytest.fixture
    def stage(self, provider: FakeProvider, workbench: FakeWorkbench) -> WorkbenchStage:
        insides = workbench.insides
        branches, files = {"main": "1" * 40, "dev": "2" * 40}, {"README": "Hello\n", "src/a": ""}
        insides.repositories[URL] = FakeRepository(branches, files)

        def marked(marks: set[str]) -> MakeService:
            def make(name: str, *needs: str) -> ServiceSpec:
                marks.add(name)
                return spec(name, *needs)

            return make

        async def reboot() -> None:
            await provider.stop("nexus-one", grace=0)
            await provider.start("nexus-one")

        return WorkbenchStage(
            workbench=workbench,
            instance="nexus-one",
            stopped="nexus-stopped",
            url=URL,
            branches=branches,
            files=files,
            healthy=spec,
            crashing=marked(insides.crashing),
            sick=marked(insides.sick),
            finishing=marked(insides.finishing),
            reboot=reboot,
        )


async def test_what_opens_a_repository_has_to_be_right(workbench: FakeWorkbench) -> None:
    workbench.insides.repositories[URL] = FakeRepository(token="right")
    for wrong in (Credentials(), Credentials(token="wrong")):
        with pytest.raises(CloneFailed, match="Authentication failed"):
            await workbench.clone("nexus-one", Source(Repository(url=URL), wrong), run())
    right = Source(Repository(url=URL), Credentials(token="right"))
    assert await workbench.clone("nexus-one", right, run()) == Checkout("main", "1" * 40)
    assert "right" not in repr(workbench.insides.repositories)


async def test_an_uploaded_repository_is_found_by_its_path(workbench: FakeWorkbench) -> None:
    workbench.insides.repositories["/fake/a"] = FakeRepository(branches={})
    source = Source(Repository(bundle=True), bundle_path="/fake/a")
    assert await workbench.clone("nexus-one", source, run()) == Checkout(None, None)


async def test_what_is_inside_outlives_the_server(provider: FakeProvider) -> None:
    insides = FakeInsides()
    insides.slow.add("api")
    one = FakeWorkbench(provider, insides=insides)
    await one.install("nexus-one", [spec("api")], Recipe())
    async with aclosing(one.start("nexus-one", run())) as events:
        assert await anext(events) == ServiceEvent(Happening.STARTING, "api")
    insides.release("api")
    other = FakeWorkbench(provider, insides=insides)
    assert (await other.look("nexus-one", spec("api"))).health is Health.HEALTHY


async def test_a_container_that_stops_ends_what_follows_it(provider: FakeProvider, workbench: FakeWorkbench) -> None:
    await workbench.install("nexus-one", [spec("api")], Recipe())

    async def told() -> list[Happening]:
        return [one.kind async for one in workbench.start("nexus-one", run())]

    async def followed() -> list[bytes]:
        return [one async for one in workbench.follow("nexus-one", None, lines=9)]

    starting, following = asyncio.ensure_future(told()), asyncio.ensure_future(followed())
    for _ in range(9):
        await asyncio.sleep(0)
    provider.halt("nexus-one")
    workbench.insides.wake()
    assert await starting == [Happening.STARTING, Happening.HEALTHY, Happening.SCRIPTS_DONE]
    assert await following == []
    assert workbench.inside("nexus-one").up == []


async def test_it_is_away_when_its_provider_is(provider: FakeProvider, workbench: FakeWorkbench) -> None:
    provider.available = False
    with pytest.raises(ProviderUnavailable):
        await workbench.look("nexus-one", spec("api"))


async def test_one_that_is_flaky_comes_up_after_some_tries(workbench: FakeWorkbench) -> None:
    workbench.insides.flaky["api"] = 2
    await workbench.install("nexus-one", [spec("api")], Recipe())
    async with aclosing(workbench.start("nexus-one", run())) as events:
        told = [(await anext(events)).kind for _ in range(6)]
    assert told == [Happening.STARTING, Happening.ENDED] * 2 + [Happening.STARTING, Happening.HEALTHY]


async def test_scripts_fail_as_told_and_faults_come_before_and_after(workbench: FakeWorkbench) -> None:
    workbench.insides.failing["npm ci"] = 9
    workbench.faults.fail("run_setup", ProviderFailed("No"))
    with pytest.raises(ProviderFailed):
        await workbench.run_setup("nexus-one", Recipe(setup=("npm ci",)), run())
    assert workbench.inside("nexus-one").log == ""
    workbench.insides.failing.clear()
    workbench.faults.fail("run_setup", ProviderFailed("No"), after_effect=True)
    with pytest.raises(ProviderFailed):
        await workbench.run_setup("nexus-one", Recipe(setup=("npm ci",)), run())
    assert workbench.inside("nexus-one").log == "==> npm ci\n"
