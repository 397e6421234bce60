"""Uploaded repositories, and what the inside of a workspace wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from contracts.bundles_contract import BundlesContract, BundlesStage, chunks
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.repository import Repository
from nexus_core.errors import (
    DatabaseBusy,
    InvalidConfig,
    InvalidRequest,
    InvalidStatusTransition,
    ServiceNotFound,
    WorkspaceNotFound,
    WorkspaceNotRunning,
)
from nexus_fakes import FakeBundles, FakeProjectFiles, FakeRepository
from nexus_host.bundles import FolderBundles
from worlds import World, spec

BUNDLE = Repository(bundle=True)


def names_in(folder: Path) -> list[str]:
    """The files in the folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_a_disk_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("no folder")
    with pytest.raises(DatabaseBusy, match="could not be kept"):
        await FolderBundles(tmp_path / "bundles").receive("ws-1", chunks(b"PACK"))


async def test_what_an_earlier_process_left_goes_with_the_workspace(tmp_path: Path) -> None:
    bundles = FolderBundles(tmp_path)
    await bundles.receive("ws-1", chunks(b"PACK"))
    (tmp_path / "ws-1.0badcafe.partial").write_bytes(b"PA")
    (tmp_path / "ws-12.0badcafe.partial").write_bytes(b"PA")
    bundles.remove("ws-1")
    assert names_in(tmp_path) == ["ws-12.0badcafe.partial"]


@pytest.mark.parametrize("name", ["../ws-1", "ws/1", "", "x" * 65])
def test_only_ids_become_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a workspace's id"):
        FolderBundles(tmp_path).path_of(name)


class TestFakeBundles(BundlesContract):
    @pytest.fixture
    def stage(self) -> BundlesStage:
        bundles = FakeBundles()
        return BundlesStage(bundles, lambda path: bundles.kept[Path(path).stem])

    async def test_they_fail_when_told_to(self) -> None:
        bundles = FakeBundles()
        bundles.faults.fail("receive", DatabaseBusy("The disk is full"))
        with pytest.raises(DatabaseBusy):
            await bundles.receive("ws-1", chunks(b"PACK"))
        assert bundles.kept == {}


class TestFolderBundles(BundlesContract):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> BundlesStage:
        return BundlesStage(FolderBundles(tmp_path / "bundles"), lambda path: Path(path).read_bytes())


class TestFakeProjectFiles:
    def test_they_mean_what_they_are_told_to(self) -> None:
        config = ProjectConfig("config")
        files = FakeProjectFiles({"text": config})
        assert files.paths == ("config",)
        assert files.understand({"config": "text", "other": "x"}) is config
        assert files.understand({"other": "text"}) is None
        with pytest.raises(InvalidConfig, match="line 1"):
            files.understand({"config": "x"})


class TestUploading:
    async def test_the_creation_goes_on_with_it(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=BUNDLE)
        world.insides.repositories[f"/fake/{workspace.id}.bundle"] = FakeRepository()
        taken = await world.nexus.upload_bundle(alice, workspace.id, chunks(b"PA", b"CK"))
        assert taken.id == workspace.id
        assert world.bundles.kept == {workspace.id: b"PACK"}
        await world.clock.advance(1)
        assert world.show(workspace.id).workspace.status is Status.RUNNING
        with pytest.raises(InvalidStatusTransition, match="has its repository already") as refused:
            await world.nexus.upload_bundle(alice, workspace.id, chunks(b"PACK"))
        assert refused.value.details["from"] == "running"

    async def test_only_for_ones_own_workspace_that_waits_for_one(self, world: World) -> None:
        alice, bob = world.register("alice"), world.register("bob")
        waiting = await world.create(alice, "waiting", repository=BUNDLE)
        other = await world.create(alice, "other")
        with pytest.raises(WorkspaceNotFound):
            world.nexus.upload_bundle.check(bob, waiting.id)
        with pytest.raises(InvalidRequest, match="not created for"):
            world.nexus.upload_bundle.check(alice, other.id)
        cloned = await world.create(bob, repository=Repository(url="https://git.example.com/a/b"))
        with pytest.raises(InvalidRequest, match="not created for"):
            world.nexus.upload_bundle.check(bob, cloned.id)
        assert world.nexus.upload_bundle.check(alice, waiting.id).id == waiting.id

    async def test_not_for_one_that_is_being_removed(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=BUNDLE)
        world.faults.hang("delete")
        deleting = asyncio.ensure_future(world.nexus.delete_workspace(alice, workspace.id))
        await world.clock.settle()
        with pytest.raises(InvalidStatusTransition):
            world.nexus.upload_bundle.check(alice, workspace.id)
        world.faults.clear()
        await deleting

    async def test_one_whose_workspace_went_meanwhile_is_not_kept(self, world: World) -> None:
        alice = world.register()
        workspace = await world.create(alice, repository=BUNDLE)

        async def slow() -> AsyncIterator[bytes]:
            yield b"PA"
            await world.nexus.delete_workspace(alice, workspace.id)
            yield b"CK"

        with pytest.raises(WorkspaceNotFound):
            await world.nexus.upload_bundle(alice, workspace.id, slow())
        assert world.bundles.kept == {}


class TestLogs:
    async def test_a_services_output_is_shown_while_its_workspace_runs(self, world: World) -> None:
        alice, bob = world.register("alice"), world.register("bob")
        workspace = await world.running(alice, services=(spec("api"),))
        logs = world.nexus.read_logs
        assert await logs(alice, workspace.id, "api", lines=10) == "hello from api\n"
        with pytest.raises(ServiceNotFound):
            await logs(alice, workspace.id, "nothing", lines=10)
        with pytest.raises(WorkspaceNotFound):
            await logs(bob, workspace.id, "api", lines=10)
        await world.nexus.stop_workspace(alice, workspace.id)
        with pytest.raises(WorkspaceNotRunning):
            await logs(alice, workspace.id, "api", lines=10)
        with pytest.raises(WorkspaceNotRunning):
            logs.follow(alice, workspace.id, "api", lines=10)

    async def test_a_services_output_is_shown_while_it_starts_and_after_it_failed(self, world: World) -> None:
        alice = world.register()
        world.insides.slow.add("api")
        workspace = await world.create(alice, services=(spec("api"),))
        await world.clock.settle()
        assert await world.nexus.read_logs(alice, workspace.id, "api", lines=1) == "hello from api\n"
        world.insides.crashing.add("api")
        world.insides.release("api")
        await world.idle()
        assert world.show(workspace.id).workspace.status is Status.ERROR
        assert "hello" in await world.nexus.read_logs(alice, workspace.id, "api", lines=9)

    async def test_the_set_ups_output_is_shown_whatever_the_workspace_does(self, world: World) -> None:
        alice = world.register()
        stuck = world.faults.hang("create")
        workspace = await world.create(alice, setup=("echo one", "echo two"))
        logs = world.nexus.read_logs
        assert await logs(alice, workspace.id, None, lines=10) == ""
        stuck.release()
        await world.idle()
        assert await logs(alice, workspace.id, None, lines=1) == "two\n"
        await world.nexus.stop_workspace(alice, workspace.id)
        assert (await logs(alice, workspace.id, None, lines=10)).startswith("==> echo one\n")
        world.provider.vanish(workspace.container_id)
        with pytest.raises(WorkspaceNotRunning, match="no instance"):
            await logs(alice, workspace.id, None, lines=10)

    async def test_they_can_be_followed(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice, setup=("echo one",))
        async with aclosing(world.nexus.read_logs.follow(alice, workspace.id, None, lines=1)) as followed:
            assert await anext(followed) == b"one\n"
            more = asyncio.ensure_future(anext(followed))
            await world.clock.settle()
            world.insides.perform(world.inside(workspace.id), "echo two")
            assert await more == b"==> echo two\ntwo\n"
