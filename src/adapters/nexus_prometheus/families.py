"""Every family of metrics of Nexus itself: its name, its labels, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Family:
    """One family; a histogram has the upper bounds of its ``buckets``, in seconds."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    about: str
    buckets: tuple[float, ...] = ()


# Chosen for what was measured: a request is read in a millisecond and a stop answered after ten seconds, a
# step takes from five milliseconds to its deadline of half an hour, and a creation from half a second, or
# a second or two with services, to a quarter of an hour with a download and a long set-up.
_OF_REQUESTS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_OF_STEPS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800)
_OF_OPERATIONS: Final = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)

CREATIONS: Final = Family(
    "nexus_creation_duration_seconds",
    "histogram",
    ("status",),
    "Time from the request for a workspace to its coming up, its failure or its being given up; waiting included.",
    _OF_OPERATIONS,
)
OPERATIONS: Final = Family(
    "nexus_operation_duration_seconds",
    "histogram",
    ("kind", "status"),
    "Time an operation on a workspace took from when this process took it up.",
    _OF_OPERATIONS,
)
STEPS: Final = Family(
    "nexus_step_duration_seconds",
    "histogram",
    ("step", "status"),
    "Time a step of an operation took, waiting for the provider included.",
    _OF_STEPS,
)
ERRORS: Final = Family(
    "nexus_errors_total",
    "counter",
    ("source", "code"),
    "Errors that operations met, by what they came from and their code; one that is tried again counts every time.",
)
REQUESTS: Final = Family(
    "nexus_http_request_duration_seconds",
    "histogram",
    ("method", "route", "status"),
    "Time from the arrival of an HTTP request until its answer began.",
    _OF_REQUESTS,
)
HTTP_ERRORS: Final = Family(
    "nexus_http_errors_total",
    "counter",
    ("code",),
    "Answers to HTTP requests that were an error, by its code.",
)

BUILD: Final = Family("nexus_build_info", "info", ("version",), "The version of Nexus that runs.")
NODE_UP: Final = Family(
    "nexus_node_up", "gauge", (), "Whether the provider answered when it was last asked: 0 means unknown, not dead."
)
DATABASE_UP: Final = Family("nexus_database_up", "gauge", (), "Whether the database can be written.")
DATABASE_SIZE: Final = Family("nexus_database_size_bytes", "gauge", (), "Space the database takes on the disk.")
WORKSPACES: Final = Family("nexus_workspaces", "gauge", ("status",), "Workspaces that are not deleted, by status.")
PORTS: Final = Family("nexus_ports", "gauge", ("kind", "state"), "Host ports by what they are for and whether leased.")
WORK: Final = Family("nexus_operations", "gauge", ("state",), "Operations that wait for their turn or are under way.")

FAMILIES: Final = (
    CREATIONS,
    OPERATIONS,
    STEPS,
    ERRORS,
    REQUESTS,
    HTTP_ERRORS,
    WORKSPACES,
    WORK,
    PORTS,
    NODE_UP,
    DATABASE_UP,
    DATABASE_SIZE,
    BUILD,
)
