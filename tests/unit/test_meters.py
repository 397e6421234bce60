"""What is counted and timed: by the engine, told to a fake, and by the adapter, read by Prometheus's own parser."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from contracts.meters_contract import MetersContract, MetersStage, ended
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, OperationStatus
from nexus_core.errors import (
    DatabaseBusy,
    Failed,
    NexusError,
    ProviderFailed,
    ProviderUnavailable,
    Unavailable,
)
from nexus_core.ports.meters import Meters, NoMeters
from nexus_fakes import FakeMeters
from nexus_prometheus import PrometheusMeters
from nexus_prometheus.families import FAMILIES
from nexus_prometheus.sources import SOURCES
from scraped import Scrape, scrape
from worlds import World


def told(world: World) -> FakeMeters:
    assert isinstance(world.meters, FakeMeters)
    return world.meters


class TestFakeMeters(MetersContract):
    @pytest.fixture
    def stage(self) -> MetersStage:
        meters = FakeMeters()

        def spent(among: list[tuple[str, str, float]], what: str, status: str) -> tuple[int, float]:
            found = [seconds for one, end, seconds in among if (one, end) == (what, status)]
            return len(found), sum(found)

        return MetersStage(
            meters,
            lambda kind, status: spent(meters.operations, kind, status),
            lambda name, status: spent(meters.steps, name, status),
            meters.errors.count,
        )


def page(meters: PrometheusMeters, world: World, accept: str = "") -> tuple[str, str]:
    health, status = world.nexus.show_server.known()
    content_type, text = meters.page(health, status, version="1.2.3", accept=accept)
    return content_type, text.decode()


class TestPrometheusMeters(MetersContract):
    @pytest.fixture
    def stage(self, world: World) -> MetersStage:
        meters = PrometheusMeters()

        def spent(family: str, **labels: str) -> tuple[int, float]:
            found = scrape(page(meters, world)[1])
            return int(found.value(f"{family}_count", **labels)), found.value(f"{family}_sum", **labels)

        return MetersStage(
            meters,
            lambda kind, status: spent("nexus_operation_duration_seconds", kind=kind, status=status),
            lambda name, status: spent("nexus_step_duration_seconds", step=name, status=status),
            lambda code: int(scrape(page(meters, world)[1]).value("nexus_errors_total", code=code)),
        )

    def test_two_of_them_know_nothing_of_each_other(self, world: World) -> None:
        one, other = PrometheusMeters(), PrometheusMeters()
        one.work_failed("provider_failed")
        assert scrape(page(other, world)[1]).value("nexus_errors_total") == 0

    def test_a_creation_counts_from_the_request_for_it(self, world: World) -> None:
        meters = PrometheusMeters()
        meters.operation_ended(ended(OperationKind.CREATE, after=12), 2)
        meters.operation_ended(ended(OperationKind.START, after=30), 3)
        found = scrape(page(meters, world)[1])
        assert found.value("nexus_creation_duration_seconds_sum", status="succeeded") == 12
        assert found.value("nexus_creation_duration_seconds_bucket", le="10.0", status="succeeded") == 0
        assert found.value("nexus_creation_duration_seconds_bucket", le="20.0", status="succeeded") == 1

    def test_what_may_go_wrong_is_there_from_the_start(self, world: World) -> None:
        found = scrape(page(PrometheusMeters(), world)[1])
        assert found.labels("nexus_errors_total", "code") == set(SOURCES)
        assert found.values("nexus_operation_duration_seconds_count", kind="create", status="failed") == [0]
        assert found.values("nexus_creation_duration_seconds_count", status="cancelled") == [0]

    def test_every_family_and_the_process_are_there_with_their_words(self, world: World) -> None:
        found = scrape(page(PrometheusMeters(), world)[1])
        for family in FAMILIES:
            name = family.name.removesuffix("_total")
            kind = "gauge" if family.kind == "info" else family.kind
            assert (found.families[name].type, found.families[name].documentation) == (kind, family.about)
        assert found.value("process_resident_memory_bytes") > 1e6
        assert found.value("process_open_fds") > 2
        assert not [name for name in found.families if name.endswith("_created")]

    def test_without_the_database_what_only_it_knows_is_left_out(self, world: World) -> None:
        world.store.close()
        health, status = world.nexus.show_server.known()
        assert status is None
        _, text = PrometheusMeters().page(health, status, version="1.2.3", accept="")
        found = scrape(text.decode())
        assert (found.value("nexus_database_up"), found.value("nexus_node_up")) == (0, 1)
        assert not {"nexus_workspaces", "nexus_ports", "nexus_operations", "nexus_database_size_bytes"} & set(
            found.families
        )

    def test_openmetrics_for_those_who_ask(self, world: World) -> None:
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
        content_type, text = page(PrometheusMeters(), world, accept)
        assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        found = Scrape.of(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # the library left it untyped
        assert found.families["nexus_errors"].type == "counter"
        assert found.value("nexus_build_info", version="1.2.3") == 1

    def test_a_request_without_an_answer(self, world: World) -> None:
        meters = PrometheusMeters()
        meters.request_answered(method="GET", route="none", status=None, seconds=1, error=None)
        found = scrape(page(meters, world)[1])
        assert found.value("nexus_http_request_duration_seconds_count", status="none") == 1


def test_every_error_from_beneath_has_its_source() -> None:
    def below(error: type[NexusError]) -> list[type[NexusError]]:
        return [one for child in error.__subclasses__() for one in (child, *below(child))]

    kinds = [error for kind in (Failed, Unavailable) for error in below(kind)]
    codes = {error.code for error in kinds if error.__module__ == "nexus_core.errors"}
    assert codes <= set(SOURCES), "say in nexus_prometheus.sources where a new error comes from"


@pytest.mark.parametrize("meters", [NoMeters(), FakeMeters(), PrometheusMeters()])
def test_all_are_meters(meters: Meters) -> None:
    meters.operation_ended(ended(OperationKind.CREATE, OperationStatus.CANCELLED), 1)


async def test_a_creation_is_told_of_with_each_of_its_steps(world: World) -> None:
    world.faults.slow("create", 2.0, world.clock)
    await world.create(world.register())
    await world.clock.advance(2)
    await world.idle()
    meters = told(world)
    assert meters.operations == [("create", "succeeded", 2.0)]
    assert meters.steps == [
        ("create_instance", "done", 2.0),
        ("publish_ssh", "done", 0),
        ("start_instance", "done", 0),
        ("wait_for_ssh", "done", 0),
    ]
    assert meters.errors == []


async def test_a_step_that_fails_is_told_of_with_its_error(world: World) -> None:
    world.faults.fail("start", ProviderFailed("No room"))
    await world.create(world.register())
    await world.idle()
    meters = told(world)
    assert meters.steps[-1][:2] == ("start_instance", "failed")
    assert meters.operations == [("create", "failed", 0)]
    assert meters.errors == ["provider_failed"]


async def test_a_provider_that_is_away_is_told_of_at_every_attempt(world: World) -> None:
    world.faults.fail("create", ProviderUnavailable("LXD does not answer"), times=2)
    await world.create(world.register())
    await world.clock.advance(1.5)  # half a second, then a whole one
    await world.idle()
    meters = told(world)
    assert meters.errors == ["provider_unavailable"] * 2
    assert meters.steps[0] == ("create_instance", "done", 1.5)
    assert meters.operations == [("create", "succeeded", 1.5)]


async def test_a_database_that_does_not_answer_is_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = world.faults.hang("create")
    await world.create(world.register())
    await stuck.entered.wait()
    with monkeypatch.context() as patch:

        def busy() -> None:
            raise DatabaseBusy("The database is locked")

        patch.setattr(world.store, "transaction", busy)
        stuck.release()
        await world.clock.settle()
    await world.clock.advance(0.5)
    await world.idle()
    assert told(world).errors == ["database_busy"]
    assert told(world).operations == [("create", "succeeded", 0.5)]


async def test_a_creation_that_is_given_up_is_told_of_and_one_that_is_interrupted_is_not(world: World) -> None:
    alice = world.register()
    world.faults.hang("create", times=2)
    workspace = await world.create(alice)
    await world.clock.advance(3)
    await world.restart()
    assert told(world).operations == []
    await world.clock.advance(4)
    await world.nexus.delete_workspace(alice, workspace.id)
    assert told(world).operations == [("create", "cancelled", 4), ("delete", "succeeded", 0)]


async def test_the_figures_are_those_of_the_status_and_zero_is_said(world: World) -> None:
    alice = world.register()
    await world.running(alice)
    found = scrape(page(PrometheusMeters(), world)[1])
    assert found.labels("nexus_workspaces", "status") == {str(one) for one in Status} - {"deleted"}
    assert (found.value("nexus_workspaces", status="running"), found.value("nexus_workspaces")) == (1, 1)
    assert found.value("nexus_ports", kind="ssh", state="used") == 1
    assert found.value("nexus_ports", kind="ssh", state="free") == 3
    assert found.value("nexus_ports", kind="service") == len(world.policy.service_ports)
    assert found.values("nexus_operations", state="queued") == [0]
