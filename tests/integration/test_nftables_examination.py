"""What the doctor sees of nftables, on the real kernel: a table that is whole, damaged, or leads nowhere."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.errors import PublishFailed
from nexus_core.ports.port_publisher import Target
from nexus_nftables import NftablesPublisher
from nexus_nftables.examination import NftablesExaminer

HERE = "10.255.77.2"  # an instance has it
NOWHERE = "10.255.77.3"  # none has it


@pytest.fixture
def bridge() -> Iterator[str]:
    """A bridge of this test's own; skips where the kernel's rules cannot be changed."""
    missing = [name for name in ("nft", "ip") if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    reason = f"{' and '.join(missing)} not installed" if missing else "needs root" if os.geteuid() != 0 else ""
    if reason and os.environ.get("NEXUS_REQUIRE_LXD") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    name = f"nxd{secrets.token_hex(3)}"
    run("ip", "link", "add", name, "type", "bridge")
    yield name
    run("ip", "link", "delete", name)


@pytest.fixture
async def publisher(bridge: str) -> AsyncIterator[Callable[[], NftablesPublisher]]:
    """Makes publishers on the bridge, each of a server of its own; nothing of them is left."""
    made: list[NftablesPublisher] = []

    def new() -> NftablesPublisher:
        made.append(NftablesPublisher(server_id=f"test{secrets.token_hex(4)}", bridge=bridge))
        return made[-1]

    yield new
    for one in made:
        with suppress(PublishFailed):
            await one.remove()


NewPublisher = Callable[[], NftablesPublisher]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def shut(bridge: str) -> None:
    """Let nothing out of loopback to the bridge."""
    Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet").write_text("0")


def is_shut(bridge: str) -> bool:
    return Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet").read_text().strip() == "0"


def id_of(publisher: NftablesPublisher) -> str:
    return publisher._table.server_id


def examiner(publisher: NftablesPublisher, *, served: bool = False, nft: str = "nft") -> NftablesExaminer:
    async def addresses() -> frozenset[str]:
        return frozenset({HERE})

    table = publisher._table
    return NftablesExaminer(
        server_id=table.server_id, bridge=table.bridge, addresses=addresses, is_served=lambda: served, nft=nft
    )


async def found(examiner: NftablesExaminer) -> dict[str, Finding]:
    """What is not well."""
    return {one.subject: one for one in await examiner.examine() if one.verdict is not Verdict.OK}


class TestContract(ExaminerContract):
    """A table that lost some of its rules is put in place again."""

    @pytest.fixture
    async def stage(self, publisher: NewPublisher) -> ExaminerStage:
        own = publisher()
        await own.publish(20700, Target(HERE, 22))
        table = f"nexus_{id_of(own)}"

        def spoil() -> str:
            run("nft", "flush", "chain", "ip", table, "guard")
            return f"table {table}"

        return ExaminerStage(examiner(own), spoil)


class TestOwn:
    async def test_none_yet(self, publisher: NewPublisher) -> None:
        assert await found(examiner(publisher())) == {}

    async def test_rebuilding_keeps_the_ports(self, publisher: NewPublisher) -> None:
        own = publisher()
        await own.publish(20701, Target(HERE, 22))
        run("nft", "flush", "chain", "ip", f"nexus_{id_of(own)}", "leaving")
        assert await own.published() == {}, "as long as the rules are not whole"
        (finding,) = (await found(examiner(own))).values()
        mended = await examiner(own).mend(finding)
        assert mended.says == "is whole again, with 1 ports"
        assert await own.published() == {20701: Target(HERE, 22)}

    async def test_a_server_that_runs_is_left_to_it(self, publisher: NewPublisher) -> None:
        own = publisher()
        await own.publish(20702, Target(HERE, 22))
        run("nft", "flush", "chain", "ip", f"nexus_{id_of(own)}", "leaving")
        (finding,) = (await found(examiner(own))).values()
        (served,) = (await found(examiner(own, served=True))).values()
        assert served.mend is None
        assert (await examiner(own, served=True).mend(finding)).verdict is Verdict.FAILURE

    async def test_a_bridge_that_came_up_with_another_address(self, publisher: NewPublisher, bridge: str) -> None:
        run("ip", "address", "add", "10.255.77.1/24", "dev", bridge)
        own = publisher()
        await own.publish(20712, Target(HERE, 22))
        assert await found(examiner(own)) == {}
        run("ip", "address", "flush", "dev", bridge)
        run("ip", "address", "add", "10.255.77.9/24", "dev", bridge)
        (finding,) = (await found(examiner(own))).values()
        assert (await examiner(own).mend(finding)).verdict is Verdict.OK
        assert await own.published() == {20712: Target(HERE, 22)}

    async def test_loopback_that_was_shut_is_opened_behind_the_guard_only(
        self, publisher: NewPublisher, bridge: str
    ) -> None:
        own = publisher()
        await own.publish(20703, Target(HERE, 22))
        shut(bridge)
        (finding,) = (await found(examiner(own))).values()
        assert finding.subject == "route_localnet"
        run("nft", "flush", "chain", "ip", f"nexus_{id_of(own)}", "guard")
        assert (await examiner(own).mend(finding)).verdict is Verdict.FAILURE
        assert is_shut(bridge)
        await own.restore({20703: Target(HERE, 22)})
        shut(bridge)
        assert (await examiner(own).mend(finding)).says == f"is on for {bridge}"
        assert not is_shut(bridge)


class TestOthers:
    async def test_one_that_leads_nowhere_is_removed(self, publisher: NewPublisher) -> None:
        own, behind = publisher(), publisher()
        await own.publish(20704, Target(HERE, 22))
        await behind.publish(20705, Target(NOWHERE, 22))
        finding = (await found(examiner(own)))[f"table nexus_{id_of(behind)}"]
        assert finding.verdict is Verdict.WARNING
        assert (await examiner(own).mend(finding)).says == "is removed: it led nowhere"
        assert await behind.published() == {}
        assert await own.published() == {20704: Target(HERE, 22)}

    async def test_one_that_leads_somewhere_by_now_stays(self, publisher: NewPublisher) -> None:
        own, other = publisher(), publisher()
        await other.publish(20706, Target(NOWHERE, 22))
        finding = (await found(examiner(own)))[f"table nexus_{id_of(other)}"]
        await other.publish(20707, Target(HERE, 22))
        assert "left alone" in (await examiner(own).mend(finding)).says
        assert set(await other.published()) == {20706, 20707}

    async def test_one_without_ports_or_that_is_not_whole_or_for_another_bridge_stays(
        self, publisher: NewPublisher
    ) -> None:
        own, empty, damaged = publisher(), publisher(), publisher()
        elsewhere = NftablesPublisher(server_id=f"test{secrets.token_hex(4)}", bridge="nxabsent0")
        await empty.restore({})
        await damaged.publish(20708, Target(NOWHERE, 22))
        run("nft", "flush", "chain", "ip", f"nexus_{id_of(damaged)}", "leaving")
        try:
            await elsewhere.publish(20709, Target(NOWHERE, 22))
            assert await found(examiner(own)) == {}
        finally:
            await elsewhere.remove()

    async def test_while_addresses_are_not_known_nothing_is_said_to_lead_nowhere(
        self, publisher: NewPublisher, bridge: str
    ) -> None:
        async def unknown() -> None:
            return None

        behind = publisher()
        await behind.publish(20710, Target(NOWHERE, 22))
        examiner = NftablesExaminer(server_id=None, bridge=bridge, addresses=unknown, is_served=lambda: False)
        assert await found(examiner) == {}

    async def test_a_server_that_is_not_known_has_no_table_of_its_own(
        self, publisher: NewPublisher, bridge: str
    ) -> None:
        async def addresses() -> frozenset[str]:
            return frozenset()

        behind = publisher()
        await behind.publish(20711, Target(NOWHERE, 22))
        examiner = NftablesExaminer(server_id=None, bridge=bridge, addresses=addresses, is_served=lambda: False)
        assert list(await found(examiner)) == [f"table nexus_{id_of(behind)}"]


class TestNft:
    async def test_it_is_missing(self, publisher: NewPublisher) -> None:
        (finding,) = (await found(examiner(publisher(), nft="no-such-nft"))).values()
        assert (finding.subject, finding.verdict) == ("nft", Verdict.FAILURE)
        assert "apt-get install nftables" in finding.fix
        mended = await examiner(publisher(), nft="no-such-nft").mend(finding)
        assert mended.verdict is Verdict.FAILURE

    async def test_it_is_not_permitted(self, bridge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refusing = tmp_path / "nft"
        refusing.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        refusing.chmod(0o755)
        own = NftablesPublisher(server_id="testrefused", bridge=bridge)
        assert (await found(examiner(own, nft=str(refusing))))["nft"].verdict is Verdict.FAILURE
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert (await found(examiner(own, nft=str(refusing))))["nft"].verdict is Verdict.WARNING
