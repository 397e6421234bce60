"""The page docs/reference/metrics.md, made from the families and from what the meters collect.

``python -m nexus_prometheus.reference > docs/reference/metrics.md`` writes it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from nexus_core.domain.host_ports import PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, StepName
from nexus_prometheus.families import FAMILIES, Family
from nexus_prometheus.meters import ENDS, METERED
from nexus_prometheus.sources import SOURCES

_HEAD: Final = """\
# Metrics

This page is made from the code (`python -m nexus_prometheus.reference`).

`GET /api/v1/metrics` shows them, to any valid token or, where the setting `metrics_open` says so, to everybody: in
Prometheus's text format, or as OpenMetrics where `Accept` names `application/openmetrics-text`. They are of the whole
server and name no user and no workspace. How to scrape them:
[watch-with-prometheus](../how-to/watch-with-prometheus.md).

Counters and histograms begin at zero when the server starts. Gauges are read when they are asked for, from one moment
of the database; while it is away, those that only it knows are left out and `nexus_database_up` is 0. No label takes a
value that a client can choose.

| metric | type | labels | |
|---|---|---|---|
"""
_BUCKETS: Final = """\

## Buckets

Upper bounds in seconds; there is always one more without a bound.

| histogram | buckets |
|---|---|
"""
_LABELS: Final = """\

## Labels

| label | values |
|---|---|
"""
_PROCESS: Final = """\

## Of the process

The server's process and its Python, by the names that all Prometheus clients use: `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_cpu_seconds_total`,
`process_start_time_seconds`, `python_gc_objects_collected_total`, `python_gc_objects_uncollectable_total`,
`python_gc_collections_total`, `python_info`.
"""


def page() -> str:
    """The page as Markdown, ending with a newline."""
    timed = [family for family in FAMILIES if family.buckets]
    return "".join(
        (
            _HEAD,
            *map(_row, FAMILIES),
            _BUCKETS,
            *(f"| `{family.name}` | {', '.join(f'{bound:g}' for bound in family.buckets)} |\n" for family in timed),
            _LABELS,
            *(f"| {label} | {values} |\n" for label, values in _values().items()),
            _PROCESS,
        )
    )


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    kind = "gauge" if family.kind == "info" else family.kind
    return f"| `{family.name}` | {kind} | {labels} | {family.about} |\n"


def _values() -> dict[str, str]:
    """What each label may be, in words where the set is another page's."""
    by_source: dict[str, list[str]] = {}
    for code, source in SOURCES.items():
        by_source.setdefault(source, []).append(code)
    statuses = [status for status in Status if status is not Status.DELETED]
    return {
        "`status` of an operation or creation": _listed(ENDS),
        "`status` of a step": _listed(METERED),
        "`status` of workspaces": _listed(statuses),
        "`status` of a request": "that of HTTP, or `none` where no answer could be sent",
        "`kind` of an operation": _listed(OperationKind),
        "`kind` of ports": _listed(PortKind),
        "`state` of ports": "`used`, `free`",
        "`state` of operations": "`queued`, `running`",
        "`step`": _listed(StepName),
        "`method`": "that of HTTP, or `other`",
        "`route`": "the path as [the API's page](api.md) writes it, or `none` where nothing answers to path and method",
        "`source` and `code` of errors": "; ".join(
            f"`{source}`: {_listed(codes)}" for source, codes in by_source.items()
        ),
        "`code` of HTTP errors": "those of [the errors' page](errors.md) that the API answers",
    }


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


if __name__ == "__main__":
    sys.stdout.write(page())
