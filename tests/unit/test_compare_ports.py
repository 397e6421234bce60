"""Host ports compared with the records: leases, publications, and what others took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.domain.host_ports import Lease, PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.errors import PublishFailed, StoreFailed
from nexus_core.policy import Policy
from nexus_core.ports.port_publisher import Target
from nexus_core.ports.provider import InstanceState
from nexus_core.usecases.compare_ports import ComparePorts
from nexus_core.usecases.comparison import Sides
from worlds import World, spec

WEB = (spec("web", port=3000),)


def compare(world: World, *, served: bool = False) -> ComparePorts:
    return ComparePorts(Sides(world.store, world.provider, world.publisher, world.clock, world.policy, lambda: served))


async def found(world: World, *, served: bool = False) -> list[Finding]:
    """What is not well."""
    return [one for one in await compare(world, served=served).examine() if one.verdict is not Verdict.OK]


class TestContract(ExaminerContract):
    """Without a server, a port that was swept away is published again."""

    @pytest.fixture
    async def stage(self, world: World) -> ExaminerStage:
        await world.running(world.register(), services=WEB)

        def spoil() -> str:
            del world.host.published["server"][23000]
            return "port 23000"

        return ExaminerStage(compare(world), spoil)


async def test_a_server_without_workspaces(world: World) -> None:
    assert [(one.subject, one.says) for one in await compare(world).examine()] == [
        ("leases", "0, and each fits its workspace"),
        ("ssh_ports", "2222-2225: 0 leased, 4 free"),
        ("service_ports", "23000-23999: 0 leased, 1000 free"),
        ("published", "0, and each leads where it should"),
    ]


class TestPublished:
    async def test_one_that_leads_elsewhere_is_led_back(self, world: World) -> None:
        await world.running(world.register())
        right = world.publisher.target(2222)
        world.host.published["server"][2222] = Target("10.9.9.9", 22)
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("port 2222", Verdict.FAILURE)
        mended = await compare(world).mend(finding)
        assert mended.says == "is published again: it leads to 10.0.0.3:22"
        assert world.publisher.target(2222) == right

    async def test_one_that_nobody_holds_is_withdrawn(self, world: World) -> None:
        await world.publisher.publish(2225, Target("10.9.9.9", 22))
        (finding,) = await found(world)
        assert finding.says == "leads to 10.9.9.9, and no workspace that may run holds it"
        assert (await compare(world).mend(finding)).says == "is withdrawn"
        assert world.publisher.target(2225) is None

    async def test_a_stopped_workspace_holds_none(self, world: World) -> None:
        alice = world.register()
        workspace = await world.running(alice)
        await world.nexus.stop_workspace(alice, workspace.id)
        assert await found(world) == []
        await world.publisher.publish(2222, Target("10.0.0.3", 22))
        assert [one.subject for one in await found(world)] == ["port 2222"]

    async def test_a_server_that_runs_mends_it_by_itself(self, world: World) -> None:
        await world.running(world.register())
        world.host.published["server"] = {2225: Target("10.9.9.9", 22)}
        missing, astray = await found(world, served=True)
        assert (missing.mend, astray.mend) == (None, None)
        assert missing.fix == astray.fix == "The server mends it within half a minute."

    async def test_a_server_that_started_meanwhile_is_left_to_it(self, world: World) -> None:
        await world.publisher.publish(2225, Target("10.9.9.9", 22))
        (finding,) = await found(world)
        mended = await compare(world, served=True).mend(finding)
        assert mended.verdict is Verdict.FAILURE
        assert world.publisher.target(2225) is not None

    async def test_what_changed_meanwhile_is_left_alone(self, world: World) -> None:
        alice = world.register()
        await world.publisher.publish(2222, Target("10.9.9.9", 22))
        (astray,) = await found(world)
        workspace = await world.running(alice)
        assert (await compare(world).mend(astray)).says == "is not withdrawn: it is held by now"
        await world.publisher.withdraw(2222)
        (missing,) = await found(world)
        await world.nexus.stop_workspace(alice, workspace.id)
        assert (await compare(world).mend(missing)).says == "is not published: nothing is to be there by now"
        assert world.publisher.target(2222) is None

    async def test_what_does_not_run_or_is_worked_on_is_to_have_none(self, world: World) -> None:
        alice = world.register()
        halted = await world.running(alice)
        world.provider.halt(halted.container_id, InstanceState.FROZEN)
        await world.publisher.withdraw(2222)
        stuck = world.faults.hang("create")
        await world.create(alice, "other")
        await stuck.entered.wait()
        assert await found(world) == []

    async def test_a_refusal_is_said(self, world: World) -> None:
        await world.publisher.publish(2225, Target("10.9.9.9", 22))
        (finding,) = await found(world)
        world.faults.fail("withdraw", PublishFailed("The kernel refused", why="No permission."))
        mended = await compare(world).mend(finding)
        assert (mended.says, mended.verdict) == (
            "stays as it is: The kernel refused: No permission",
            Verdict.FAILURE,
        )


class TestLeases:
    async def test_a_workspace_without_one(self, world: World) -> None:
        workspace = await world.running(world.register(), services=WEB)
        with world.store.transaction() as records:
            records.leases.release(workspace.id, world.clock.now())
        ssh, service, *published = await found(world)
        assert ssh.says.startswith("uses port 2222 for SSH without a lease")
        assert service.says == "forwards port 23000 to web without a lease"
        assert service.fix.startswith("`nexus forward --remove web web`")
        assert {one.subject for one in published} == {"port 2222", "port 23000"}

    async def test_one_that_leads_to_nothing(self, world: World) -> None:
        workspace = await world.running(world.register())
        with world.store.transaction() as records:
            records.leases.take(Lease(23005, PortKind.SERVICE, workspace.id, world.clock.now()))
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("alice/web", Verdict.WARNING)
        assert finding.says == "has leased port 23005, and nothing of it is there"

    async def test_one_of_a_deleted_workspace(self, world: World) -> None:
        workspace = await world.running(world.register())
        await world.publisher.withdraw(2222)
        with world.store.transaction() as records:
            latest = records.workspaces.get(workspace.id)
            assert latest is not None
            records.workspaces.update(replace(latest, status=Status.DELETED, deleted_at=world.clock.now()))
        (finding,) = await found(world)
        assert (finding.subject, finding.says) == ("port 2222", "is leased to a workspace that is deleted")

    async def test_a_workspace_without_a_port_uses_none(self, world: World) -> None:
        workspace = await world.running(world.register())
        with world.store.transaction() as records:
            latest = records.workspaces.get(workspace.id)
            assert latest is not None
            records.workspaces.update(replace(latest, ssh_port=None))
            records.leases.release(workspace.id, world.clock.now())
        await world.publisher.withdraw(2222)
        assert await found(world) == []


class TestOthers:
    async def test_a_leased_port_that_another_program_took(self, world: World) -> None:
        await world.running(world.register())
        world.publisher.listen(2222)
        (finding,) = await found(world)
        assert finding.says == "of alice/web is taken by another program or server"
        assert (finding.verdict, finding.mend) == (Verdict.FAILURE, None)

    async def test_ports_that_others_took_are_counted(self, world: World) -> None:
        for port in (23000, 23001, 23002, 23010, 23020, 23030, 23040):
            world.publisher.listen(port)
        says = {one.subject: one.says for one in await compare(world).examine()}
        assert says["service_ports"] == (
            "23000-23999: 0 leased, "
            "7 taken by other programs or servers (23000-23002, 23010, 23020, 23030, …), 993 free"
        )

    async def test_a_range_that_runs_out(self) -> None:
        async with World(
            policy=Policy(ssh_ports=PortRange(2222, 2222), service_ports=PortRange(23000, 23019))
        ) as world:
            await world.running(world.register())
            for port in range(23000, 23019):
                world.publisher.listen(port)
            full, scarce = await found(world)
            assert (full.subject, full.verdict) == ("ssh_ports", Verdict.FAILURE)
            assert (scarce.subject, scarce.verdict) == ("service_ports", Verdict.WARNING)
            assert scarce.says.endswith("(23000-23018), 1 free")


class TestAway:
    async def test_ports_that_cannot_be_looked_at(self, world: World) -> None:
        world.faults.fail("occupied", PublishFailed("The kernel lets us look at nothing", why="No permission."))
        (finding,) = await found(world)
        assert (finding.subject, finding.verdict) == ("published", Verdict.WARNING)

    async def test_a_provider_that_is_away(self, world: World) -> None:
        world.provider.available = False
        (finding,) = await found(world)
        assert finding.says == "not compared: The provider does not answer: The fake is away"

    async def test_records_that_cannot_be_read(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> None:
            raise StoreFailed("The database failed")

        monkeypatch.setattr(world.store, "snapshot", broken)
        (finding,) = await found(world)
        assert finding.says == "not compared: The database failed"
        monkeypatch.undo()
