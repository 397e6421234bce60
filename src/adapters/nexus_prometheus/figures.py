"""The server's figures at one moment, as gauges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily

from nexus_core.domain.lifecycle import Status
from nexus_core.usecases.show_server import Health, PortUse, ServerStatus
from nexus_prometheus import families
from nexus_prometheus.families import Family


def figures(health: Health, status: ServerStatus | None, version: str) -> Iterator[Metric]:
    """What is known: without ``status`` the database is away, and what only it knows is left out."""
    build = families.BUILD
    yield InfoMetricFamily(build.name.removesuffix("_info"), build.about, value={"version": version})
    yield _one(families.NODE_UP, health.heartbeat.status.available)
    yield _one(families.DATABASE_UP, health.status != "unavailable")
    if status is None:
        return
    yield _one(families.DATABASE_SIZE, status.store.size_bytes)
    # A status that nobody has is zero, not missing: a graph without gaps.
    kept = [one for one in Status if one is not Status.DELETED]
    yield _many(families.WORKSPACES, {(str(one),): status.workspaces.get(one, 0) for one in kept})
    yield _many(families.WORK, {("queued",): status.queued, ("running",): status.running})
    yield _many(families.PORTS, {**_use("ssh", status.ssh_ports), **_use("service", status.service_ports)})


def _one(family: Family, value: float) -> Metric:
    return GaugeMetricFamily(family.name, family.about, value=float(value))


def _many(family: Family, values: Mapping[tuple[str, ...], float]) -> Metric:
    gauge = GaugeMetricFamily(family.name, family.about, labels=family.labels)
    for labels, value in values.items():
        gauge.add_metric(labels, value)
    return gauge


def _use(kind: str, use: PortUse) -> dict[tuple[str, ...], float]:
    return {(kind, "used"): use.used, (kind, "free"): use.free}
