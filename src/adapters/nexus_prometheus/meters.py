"""What happened since the process began, counted and timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.openmetrics import exposition as openmetrics

from nexus_core.domain.operation import Operation, OperationKind, OperationStatus, StepName, StepStatus
from nexus_core.ports.meters import Meters
from nexus_core.usecases.show_server import Health, ServerStatus
from nexus_prometheus import families
from nexus_prometheus.families import Family
from nexus_prometheus.figures import figures
from nexus_prometheus.sources import SOURCES, source_of

_OPENMETRICS: Final = "application/openmetrics-text"
ENDS: Final = (OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.CANCELLED)
METERED: Final = (StepStatus.DONE, StepStatus.FAILED, StepStatus.SKIPPED)
"""How operations and steps are told to end."""


class PrometheusMeters(Meters):
    """Keeps everything in memory and in a registry of its own; may be used from any thread.

    What may go wrong is there from the start, at zero: a series that begins with its first failure
    is one that no alert sees rising.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._creations = _histogram(families.CREATIONS, registry)
        self._operations = _histogram(families.OPERATIONS, registry)
        self._steps = _histogram(families.STEPS, registry)
        self._errors = _counter(families.ERRORS, registry)
        self._requests = _histogram(families.REQUESTS, registry)
        self._http_errors = _counter(families.HTTP_ERRORS, registry)
        # Looking a series up costs as much as counting in it, and requests are many.
        self._answered: dict[tuple[str, str, int | None], Histogram] = {}
        for collector in (ProcessCollector, GCCollector, PlatformCollector):
            collector(registry=registry)
        for status in ENDS:
            self._creations.labels(status)
            for kind in OperationKind:
                self._operations.labels(kind, status)
        for code, source in SOURCES.items():
            self._errors.labels(source, code)

    def operation_ended(self, operation: Operation, seconds: float) -> None:
        self._operations.labels(operation.kind, operation.status).observe(seconds)
        if operation.kind is OperationKind.CREATE and operation.finished_at is not None:
            self._creations.labels(operation.status).observe(_between(operation.created_at, operation.finished_at))

    def step_ended(self, name: StepName, status: StepStatus, seconds: float) -> None:
        self._steps.labels(name, status).observe(seconds)

    def work_failed(self, code: str) -> None:
        self._errors.labels(source_of(code), code).inc()

    def request_answered(
        self, *, method: str, route: str, status: int | None, seconds: float, error: str | None
    ) -> None:
        """An HTTP request was answered, or None if it was not; all but ``seconds`` come from bounded sets."""
        series = (method, route, status)
        answered = self._answered.get(series)
        if answered is None:
            shown = "none" if status is None else str(status)
            answered = self._answered[series] = self._requests.labels(method, route, shown)
        answered.observe(seconds)
        if error is not None:
            self._http_errors.labels(error).inc()

    def page(self, health: Health, status: ServerStatus | None, *, version: str, accept: str) -> tuple[str, bytes]:
        """Everything at this moment and the content type it is written in.

        That is Prometheus's own text, or OpenMetrics where ``accept``, the client's header, names it. Without
        ``status`` the figures that only the database knows are left out.
        """
        everything = _Everything(figures(health, status, version), self._registry)
        if _OPENMETRICS in accept:
            return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(everything)  # type: ignore[no-untyped-call]  # the library left it untyped
        return exposition.CONTENT_TYPE_PLAIN_0_0_4, exposition.generate_latest(everything)


class _Everything:
    """Figures of the moment and what was counted, as one collector."""

    def __init__(self, now: Iterable[Metric], counted: CollectorRegistry) -> None:
        self._now = now
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        yield from self._now
        for metric in self._counted.collect():
            # When each series began would make the page half as long again, and nobody asks for it.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(family.name, family.about, family.labels, buckets=family.buckets, registry=registry)


def _counter(family: Family, registry: CollectorRegistry) -> Counter:
    return Counter(family.name, family.about, family.labels, registry=registry)


def _between(earlier: datetime, later: datetime) -> float:
    # The time of day may have been set back in between.
    return max(0.0, (later - earlier).total_seconds())
