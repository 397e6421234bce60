"""What is inside a workspace when it is up: its repository, its set-up, and what its own file says of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.bundles_contract import chunks
from nexus_core import WorkspaceRequest
from nexus_core.domain.host_ports import PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import StepName
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.steps import NothingToDo
from nexus_core.errors import InvalidRequest, ProviderFailed, ProviderUnavailable
from nexus_fakes import FakeRepository
from worlds import ADMIN, World, spec

URL = "https://git.example.com/my-org/my-project.git"
SSH_URL = "git@git.example.com:my-org/my-project.git"
REPOSITORY = Repository(url=URL)
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"


async def configured(world: World, config: ProjectConfig, **more: Any) -> Workspace:
    """A workspace whose repository has a file that means this."""
    world.insides.repositories[URL] = FakeRepository(files={"config": "text"})
    world.project_files.meanings["text"] = config
    alice = world.register()
    return await world.running(alice, repository=REPOSITORY, **more)


def failure_of(world: World, workspace: Workspace) -> tuple[str | None, str, str]:
    """In which step the workspace failed, with which code, and what is said."""
    failed = world.show(workspace.id).workspace
    assert failed.status is Status.ERROR
    assert failed.error is not None
    return failed.error.step, failed.error.code, failed.error.message


class TestCloning:
    async def test_the_repository_is_there_when_the_workspace_is_up(self, world: World) -> None:
        world.insides.repositories[URL] = FakeRepository(branches={"main": "a" * 40, "dev": "b" * 40})
        alice = world.register()
        main = await world.running(alice, "main", repository=REPOSITORY)
        dev = await world.running(alice, "dev", repository=Repository(owner="o", name="n", url=URL, branch="dev"))
        assert main.repository == Repository(URL, "my-org", "my-project", "main", "a" * 40)
        assert dev.repository == Repository(URL, "o", "n", "dev", "b" * 40)
        assert world.inside(main.id).checkout is not None
        assert world.steps(main.id)["clone_repository"] == "done"

    async def test_an_empty_repository_has_no_commit(self, world: World) -> None:
        world.insides.repositories[URL] = FakeRepository(branches={})
        empty = await world.running(world.register(), repository=Repository(url=URL))
        assert empty.status is Status.RUNNING
        assert empty.repository is not None
        assert (empty.repository.branch, empty.repository.commit) == (None, None)

    async def test_without_a_repository_nothing_is_cloned(self, world: World) -> None:
        workspace = await world.running(world.register())
        view = world.show(workspace.id)
        assert view.operation is not None
        assert [str(one.status) for one in view.operation.steps[4:]] == ["skipped"] * 4
        assert world.faults.count("clone") == 0

    async def test_one_that_cannot_be_had_is_an_error_with_gits_own_reason(self, world: World) -> None:
        workspace = await world.running(world.register(), repository=REPOSITORY)
        step, code, message = failure_of(world, workspace)
        assert (step, code) == ("clone_repository", "clone_failed")
        assert "repository not found" in message

    async def test_a_start_goes_on_from_a_clone_that_failed(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, repository=REPOSITORY)
        world.insides.repositories[URL] = FakeRepository()
        world.nexus.start_workspace(alice, workspace.id)
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.faults.count("create") == 1

    async def test_a_later_start_clones_nothing_again(self, world: World) -> None:
        world.insides.repositories[URL] = FakeRepository()
        alice = world.register()
        workspace = await world.running(alice, repository=REPOSITORY, setup=("echo one",))
        await world.nexus.stop_workspace(alice, workspace.id)
        world.nexus.start_workspace(alice, workspace.id)
        await world.idle()
        assert world.faults.count("clone") == world.faults.count("run_setup") == 1

    async def test_a_clone_waits_for_a_provider_that_is_away(self, world: World) -> None:
        world.insides.repositories[URL] = FakeRepository()
        world.faults.fail("clone", ProviderUnavailable("LXD is away"), after_effect=True)
        workspace = await world.create(world.register(), repository=REPOSITORY)
        await world.clock.advance(1)
        assert world.show(workspace.id).workspace.status is Status.RUNNING

    async def test_what_was_not_begun_may_be_refused_for_good_reason(self, world: World) -> None:
        with pytest.raises(InvalidRequest):
            await world.create(world.register(), repository=Repository())
        assert world.leased() == frozenset()

    async def test_a_step_without_a_repository_says_that_it_has_nothing_to_do(self, world: World) -> None:
        """It is left out of the plan already; this is for an operation that was planned without knowing."""
        workspace = await world.running(world.register())
        operation = world.show(workspace.id).operation
        assert operation is not None
        clone = world.nexus.engine._actions[StepName.CLONE_REPOSITORY]
        assert isinstance(await clone(workspace, operation), NothingToDo)


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "credentials"),
        [(URL, Credentials(token="hunter2")), (SSH_URL, Credentials(deploy_key=KEY))],
        ids=["token", "deploy_key"],
    )
    @pytest.mark.parametrize("fault", [None, "wrong", "away", "failed"])
    async def test_what_opens_a_repository_is_nowhere_to_be_read_and_forgotten_after_the_clone(
        self,
        world: World,
        url: str,
        credentials: Credentials,
        fault: str | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(0)
        opens = {"wrong": "another"}.get(fault or "")
        world.insides.repositories[url] = FakeRepository(
            token=credentials.token and (opens or credentials.token),
            deploy_key=credentials.deploy_key and (opens or credentials.deploy_key),
        )
        errors = {"away": ProviderUnavailable("Away"), "failed": ProviderFailed("No")}
        if fault in errors:
            world.faults.fail("clone", errors[fault])
        alice = world.register()
        request = WorkspaceRequest(workspace_name="web", repository=Repository(url=url), credentials=credentials)
        accepted = await world.nexus.create_workspace(alice, request)
        await world.clock.advance(1)
        view = world.show(accepted.workspace.id)
        cloned = fault in (None, "away")
        assert view.workspace.status is (Status.RUNNING if cloned else Status.ERROR)
        kept = world.recipe(view.workspace.id)
        assert kept.credentials == (Credentials() if cloned else credentials)
        with world.store.snapshot() as records:
            events = records.events.after(0)
            operation = records.operations.latest(view.workspace.id)
        seen = f"{request!r} {accepted!r} {view!r} {kept!r} {events!r} {operation!r} {caplog.text}"
        seen += world.inside(view.workspace.id).log
        assert "hunter2" not in seen
        assert "c2VjcmV0" not in seen

    async def test_they_go_with_a_workspace_that_was_never_filled(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, repository=REPOSITORY, credentials=Credentials(token="hunter2"))
        assert world.recipe(workspace.id).credentials
        await world.nexus.delete_workspace(alice, workspace.id)
        assert not world.recipe(workspace.id).credentials

    async def test_without_a_repository_none_are_kept(self, world: World) -> None:
        workspace = await world.running(world.register(), credentials=Credentials(token="hunter2"))
        assert not world.recipe(workspace.id).credentials

    async def test_a_later_request_for_the_same_repository_has_to_bring_its_own(self, world: World) -> None:
        world.insides.repositories[URL] = FakeRepository(token="hunter2")
        alice = world.register()
        await world.running(alice, "one", repository=REPOSITORY, credentials=Credentials(token="hunter2"))
        other = await world.running(alice, "two", repository=REPOSITORY)
        assert "Authentication failed" in failure_of(world, other)[2]


class TestSetUp:
    async def test_scripts_run_once_and_in_order(self, world: World) -> None:
        workspace = await world.running(world.register(), setup=("echo one", "echo two"))
        assert world.inside(workspace.id).log == "==> echo one\none\n==> echo two\ntwo\n"
        assert world.steps(workspace.id)["run_setup"] == "done"

    async def test_a_script_that_fails_is_named_and_a_start_goes_on_with_it(self, world: World) -> None:
        alice = world.register()
        world.insides.failing["npm ci"] = 3
        workspace = await world.running(alice, setup=("echo one", "npm ci", "echo two"))
        step, code, message = failure_of(world, workspace)
        assert (step, code) == ("run_setup", "setup_failed")
        assert "script 2 of 3 (`npm ci`) ended with exit code 3" in message
        world.insides.failing.clear()
        world.nexus.start_workspace(alice, workspace.id)
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.inside(workspace.id).log.count("==> echo one") == 1
        assert world.inside(workspace.id).log.endswith("==> npm ci\n==> echo two\ntwo\n")

    async def test_a_script_that_is_none_is_refused(self, world: World) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await world.create(world.register(), setup=("true", " "))
        assert list(refused.value.details) == ["$.setup[1]"]

    async def test_set_up_goes_on_while_the_server_is_away(self, world: World) -> None:
        stuck = world.faults.hang("run_setup", after_effect=True)
        workspace = await world.create(world.register(), setup=("echo one",))
        await stuck.entered.wait()
        assert await world.restart() == 1
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.inside(workspace.id).log.count("==> echo one") == 1

    async def test_set_up_that_does_not_end_ends_at_its_deadline(self, world: World) -> None:
        world.faults.hang("run_setup")
        workspace = await world.create(world.register(), setup=("sleep",))
        await world.clock.advance(1800)
        assert failure_of(world, workspace)[:2] == ("run_setup", "deadline_exceeded")


class TestUploads:
    async def test_a_workspace_waits_for_its_bundle(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=Repository(bundle=True))
        await world.clock.advance(100)
        assert world.show(workspace.id).workspace.status is Status.CREATING
        world.insides.repositories[f"/fake/{workspace.id}.bundle"] = FakeRepository()
        await world.bundles.receive(workspace.id, chunks(b"PACK"))
        await world.clock.advance(1)
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        assert world.bundles.kept == {}

    async def test_a_bundle_that_does_not_come_is_an_error_and_may_come_later(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=Repository(bundle=True))
        await world.clock.advance(world.policy.bundle_wait + 1)
        assert failure_of(world, workspace)[:2] == ("clone_repository", "bundle_missing")
        world.insides.repositories[f"/fake/{workspace.id}.bundle"] = FakeRepository()
        await world.nexus.upload_bundle(alice, workspace.id, chunks(b"PACK"))
        world.nexus.start_workspace(alice, workspace.id)
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.RUNNING

    async def test_a_bundle_that_nobody_needs_any_more_is_forgotten(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=Repository(bundle=True))
        stuck = world.faults.hang("start")
        await world.bundles.receive(workspace.id, chunks(b"PACK"))
        stuck.release()
        await world.nexus.delete_workspace(alice, workspace.id, force=True)
        assert world.bundles.kept == {}


class TestProjectFiles:
    async def test_what_the_file_says_is_done(self, world: World) -> None:
        config = ProjectConfig(
            "config",
            services=(spec("api", port=4000),),
            setup=("echo one",),
            pre_start=("echo two",),
            post_start=("echo three",),
            pre_stop=("echo four",),
            env={"A": "b"},
            notes=("Something is not used.",),
        )
        workspace = await configured(world, config)
        assert workspace.status is Status.RUNNING
        assert workspace.notes == ("Something is not used.",)
        assert world.fares(workspace.id) == {"api": "running"}
        assert world.service(workspace.id, "api").mapped_port == 23000
        recipe = world.recipe(workspace.id)
        assert (recipe.setup, recipe.post_start, recipe.pre_stop) == (
            ("echo one", "echo two"),
            ("echo three",),
            ("echo four",),
        )
        assert recipe.env == {"A": "b"}
        assert [line for line in world.inside(workspace.id).log.splitlines() if "==>" not in line] == [
            "one",
            "two",
            "three",
        ]

    async def test_the_requests_own_set_up_takes_the_place_of_the_files(self, world: World) -> None:
        config = ProjectConfig("config", setup=("echo file",), pre_start=("echo before",))
        workspace = await configured(world, config, setup=("echo asked",))
        assert world.recipe(workspace.id).setup == ("echo asked", "echo before")

    async def test_services_in_the_request_take_the_place_of_the_whole_file(self, world: World) -> None:
        config = ProjectConfig("config", services=(spec("file"),), setup=("echo file",))
        workspace = await configured(world, config, services=(spec("asked"),))
        assert world.fares(workspace.id) == {"asked": "running"}
        assert world.recipe(workspace.id).setup == ()
        assert world.faults.count("read_files") == 0

    async def test_resources_are_those_of_the_file_where_the_request_named_none(self, world: World) -> None:
        config = ProjectConfig("config", cpu=3, memory="2GiB", disk="30GiB")
        workspace = await configured(world, config, memory="1GiB")
        resources = workspace.resources
        assert (resources.cpu, resources.memory, resources.disk) == (3, "1GiB", "30GiB")
        assert world.provider.spec(workspace.container_id).resources == resources

    async def test_resources_that_are_as_they_were_change_nothing(self, world: World) -> None:
        await configured(world, ProjectConfig("config", cpu=2))
        assert world.faults.count("resize") == 0

    async def test_resources_that_cannot_be_had_are_an_error_of_the_file(self, world: World) -> None:
        workspace = await configured(world, ProjectConfig("config", memory="much"))
        step, code, message = failure_of(world, workspace)
        assert (step, code) == ("clone_repository", "invalid_config")
        assert "config asks for resources" in message

    @pytest.mark.parametrize(("image", "notes"), [("nexus-base", 0), (None, 0), ("ubuntu:22.04", 1)])
    async def test_another_image_is_noted(self, world: World, image: str | None, notes: int) -> None:
        workspace = await configured(world, ProjectConfig("config", image=image))
        assert len(workspace.notes) == notes
        assert all("ubuntu:22.04" in note for note in workspace.notes)

    async def test_a_file_that_means_nothing_is_an_error_and_is_read_again_at_the_next_start(
        self, world: World
    ) -> None:
        world.insides.repositories[URL] = FakeRepository(files={"config": "text"})
        alice = world.register()
        workspace = await world.running(alice, repository=REPOSITORY)
        assert failure_of(world, workspace)[:2] == ("clone_repository", "invalid_config")
        world.inside(workspace.id).files["config"] = "mended"
        world.project_files.meanings["mended"] = ProjectConfig("config", services=(spec("api"),))
        world.nexus.start_workspace(alice, workspace.id)
        await world.idle()
        assert world.fares(workspace.id) == {"api": "running"}

    async def test_a_file_that_changed_is_taken_in_at_the_next_start(self, world: World) -> None:
        services = (spec("api", port=4000), spec("web", port=3000), spec("db", port=5432, expose=False))
        workspace = await configured(world, ProjectConfig("config", services=services, notes=("Note.",)))
        assert world.leased(PortKind.SERVICE) == {23000, 23001}
        await world.nexus.stop_workspace(ADMIN, workspace.id)
        changed = ProjectConfig("config", services=services[1:], env={"A": "b"}, notes=("Note.",))
        world.project_files.meanings["text"] = changed
        world.nexus.start_workspace(ADMIN, workspace.id)
        await world.idle()
        assert world.fares(workspace.id) == {"db": "running", "web": "running"}
        assert world.service(workspace.id, "web").mapped_port == 23001
        assert world.leased(PortKind.SERVICE) == {23001}
        up = world.show(workspace.id).workspace
        assert (up.status, up.notes, world.recipe(workspace.id).env) == (Status.RUNNING, ("Note.",), {"A": "b"})

    async def test_services_that_are_gone_from_the_file_are_gone_inside(self, world: World) -> None:
        workspace = await configured(world, ProjectConfig("config", services=(spec("api"),)))
        world.project_files.meanings["text"] = ProjectConfig("config")
        await world.nexus.stop_workspace(ADMIN, workspace.id)
        world.nexus.start_workspace(ADMIN, workspace.id)
        await world.idle()
        assert world.inside(workspace.id).services == {}
        assert "start_services" not in world.steps(workspace.id)

    async def test_a_file_is_taken_in_once_however_often_the_server_ends_meanwhile(self, world: World) -> None:
        """The records of the step's end and of what it found are written apart: either may be the last."""
        world.insides.repositories[URL] = FakeRepository(files={"config": "text"})
        world.project_files.meanings["text"] = ProjectConfig(
            "config", setup=("echo one",), pre_start=("echo two",), cpu=3, notes=("Note.",), services=(spec("api"),)
        )
        alice = world.register()
        stuck = world.faults.hang("read_files")
        workspace = await world.create(alice, repository=REPOSITORY)
        await stuck.entered.wait()
        engine = world.nexus.engine
        original = world.store.transaction
        writes = 0

        def transaction(*, wait: bool = True) -> Any:
            nonlocal writes
            writes += 1
            if writes == 2:  # the first keeps what was found; the process ends before the second
                for task in list(engine._kinds):
                    task.cancel()
                raise asyncio.CancelledError
            return original()

        world.store.transaction = transaction  # type: ignore[method-assign]  # the process ends in between
        stuck.release()
        await world.clock.settle()
        world.store.transaction = original  # type: ignore[method-assign]  # and begins again
        assert writes == 2
        await world.restart()
        await world.idle()
        up = world.show(workspace.id).workspace
        assert up.status is Status.RUNNING
        assert (up.notes, up.resources.cpu) == (("Note.",), 3)
        assert world.recipe(workspace.id).setup == ("echo one", "echo two")
        assert up.repository is not None
        assert up.repository.commit == "1" * 40
