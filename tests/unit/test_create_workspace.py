"""Asking for workspaces, and looking at them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from nexus_core import Caller, WorkspaceRequest
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import (
    Forbidden,
    HostPortsExhausted,
    IdempotencyConflict,
    InvalidRequest,
    UnknownImage,
    UnknownProvider,
    UserNotFound,
    WorkspaceAlreadyExists,
    WorkspaceNotFound,
)
from nexus_core.usecases.create_workspace import Retry
from worlds import ADMIN, World, nothing


async def test_a_workspace_comes_up(world: World) -> None:
    alice = world.register()
    accepted = await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="web", cpu=1, memory="1GiB"))
    workspace = accepted.workspace
    assert (workspace.status, workspace.ssh_port, accepted.estimated_seconds) == (Status.CREATING, 2222, 30)
    await world.idle()
    view = world.show(workspace.id)
    up = view.workspace
    assert up.status is Status.RUNNING
    assert (up.resources.cpu, up.resources.memory, up.resources.disk) == (1, "1GiB", "20GiB")
    assert up.host_key is not None
    assert up.started_at == world.clock.now()
    assert world.steps(workspace.id) == dict.fromkeys(
        ["create_instance", "publish_ssh", "start_instance", "wait_for_ssh"], "done"
    )
    assert world.publisher.target(2222) is not None
    assert world.leased() == {2222}


async def test_the_estimate_is_the_median_of_what_was_measured(world: World) -> None:
    alice = world.register()
    world.faults.slow("create", 2.2, world.clock)
    for name in ("one", "two"):
        await world.create(alice, name)
        await world.clock.advance(3)
    third = await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="three"))
    assert third.estimated_seconds == 3
    world.faults.clear()


async def test_ports_are_leased_lowest_first_and_run_out(world: World) -> None:
    alice = world.register()
    world.publisher.listen(2223)
    ports = [(await world.running(alice, name)).ssh_port for name in ("a", "b", "c")]
    assert ports == [2222, 2224, 2225]
    with pytest.raises(HostPortsExhausted) as full:
        await world.create(alice, "d")
    assert full.value.retry_after > 0
    assert [one.workspace.name for one in world.nexus.list_workspaces(alice, limit=9, offset=0)[0]] == ["c", "b", "a"]
    assert world.leased() == {2222, 2224, 2225}


async def test_names_are_unique_per_owner_until_deleted(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    first = await world.running(alice)
    await world.create(bob)
    with pytest.raises(WorkspaceAlreadyExists) as clash:
        await world.create(alice)
    assert clash.value.details["workspace_id"] == first.id
    await world.nexus.delete_workspace(alice, first.id, force=True)
    again = await world.create(alice)
    assert again.ssh_port == first.ssh_port


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"workspace_name": "Web"}, InvalidRequest),
        ({"workspace_name": "web-"}, InvalidRequest),
        ({"image": "a b"}, InvalidRequest),
        ({"image": "no-such-image"}, UnknownImage),
        ({"cpu": 0}, InvalidRequest),
        ({"memory": "4"}, InvalidRequest),
        ({"provider": "docker"}, UnknownProvider),
        ({"github_username": "bob"}, Forbidden),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_stored(
    world: World, wrong: dict[str, object], error: type[Exception]
) -> None:
    alice = world.register()
    fields: dict[str, object] = {"workspace_name": "web", **wrong}
    with pytest.raises(error):
        await world.nexus.create_workspace(alice, WorkspaceRequest(**fields))  # type: ignore[arg-type]  # on purpose
    assert world.leased() == frozenset()
    assert world.nexus.list_workspaces(ADMIN, limit=9, offset=0) == ([], 0)


async def test_the_administrator_names_the_owner(world: World) -> None:
    world.register()
    with pytest.raises(InvalidRequest):
        await world.create(ADMIN)
    with pytest.raises(UserNotFound):
        await world.nexus.create_workspace(ADMIN, WorkspaceRequest(workspace_name="web", github_username="carol"))
    request = WorkspaceRequest(workspace_name="web", github_username="Alice", provider="lxc")
    accepted = await world.nexus.create_workspace(ADMIN, request)
    assert accepted.workspace.owner == "alice"


async def test_a_retried_request_is_answered_by_the_first_ones_workspace(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    request, retry = WorkspaceRequest(workspace_name="web"), Retry("key", "digest")

    async def create(caller: Caller, retry: Retry = retry) -> str:
        return (await world.nexus.create_workspace(caller, request, retry=retry)).workspace.id

    first = await create(alice)
    assert await create(alice) == first
    assert await create(bob) != first
    with pytest.raises(IdempotencyConflict):
        await create(alice, Retry("key", "another digest"))
    world.clock.jump(timedelta(hours=24, seconds=1).total_seconds())
    with pytest.raises(WorkspaceAlreadyExists):
        await create(alice)


async def test_an_old_key_names_a_new_request(world: World) -> None:
    """Also when no reconciler has purged it yet."""
    alice = world.register()
    retry = Retry("key", "digest")
    await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="one"), retry=retry)
    world.clock.jump(24 * 3600 + 1)
    second = await world.nexus.create_workspace(
        alice, WorkspaceRequest(workspace_name="two"), retry=Retry("key", "other")
    )
    assert second.workspace.name == "two"


async def test_a_user_sees_its_own_only(world: World) -> None:
    alice, bob = world.register("alice"), world.register("bob")
    mine, other = await world.running(alice), await world.running(bob)
    with pytest.raises(WorkspaceNotFound):
        world.nexus.show_workspace(alice, other.id)
    page = world.nexus.list_workspaces

    def ids(caller: Caller, **which: Any) -> list[str]:
        return [one.workspace.id for one in page(caller, limit=9, offset=0, **which)[0]]

    assert ids(alice) == ids(alice, owner="Alice") == [mine.id]
    assert page(ADMIN, limit=1, offset=1)[1] == 2
    assert ids(ADMIN, owner="bob", status=Status.RUNNING) == [other.id]
    assert page(ADMIN, owner="nobody", limit=9, offset=0) == ((), 0)
    with pytest.raises(Forbidden):
        page(alice, owner="bob", limit=9, offset=0)


async def test_deleted_ones_are_listed_only_when_asked_for(world: World) -> None:
    alice = world.register()
    workspace = await world.running(alice)
    await world.nexus.delete_workspace(alice, workspace.id, force=True)
    assert world.nexus.list_workspaces(alice, limit=9, offset=0)[1] == 0
    assert world.nexus.list_workspaces(alice, status=Status.DELETED, limit=9, offset=0)[1] == 1
    with pytest.raises(WorkspaceNotFound):
        world.nexus.show_workspace(alice, workspace.id)


async def test_the_server_shows_its_figures(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    await world.clock.advance(3)
    status = world.nexus.show_server()
    assert (status.health.status, status.health.uptime_seconds, status.health.workspaces) == ("ok", 3, 1)
    assert (status.ssh_ports.used, status.ssh_ports.free) == (1, 3)
    assert status.workspaces == {Status.RUNNING: 1}
    assert (status.queued, status.running) == (0, 0)
    assert world.nexus.show_server() == status


async def test_a_retry_after_its_workspace_was_forgotten_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.register()
    retry = Retry("key", "digest")
    accepted = await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="web"), retry=retry)
    await world.idle()
    await world.nexus.delete_workspace(alice, accepted.workspace.id, force=True)
    again = await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="web"), retry=retry)
    assert again.workspace.status is Status.DELETED
    with world.store.snapshot() as records:
        workspaces = type(records.workspaces)
    monkeypatch.setattr(workspaces, "get", nothing)
    with pytest.raises(InvalidRequest, match="forgotten"):
        await world.nexus.create_workspace(alice, WorkspaceRequest(workspace_name="web"), retry=retry)
