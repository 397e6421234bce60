"""What an administrator may decide about the core's behaviour, with defaults that suit one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nexus_core.domain.host_ports import PortRange
from nexus_core.domain.operation import DEADLINES, StepName
from nexus_core.domain.resources import Resources


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits, defaults and intervals; times are in seconds unless the name says otherwise."""

    ssh_ports: PortRange = field(default=PortRange(2222, 2299))
    service_ports: PortRange = field(default=PortRange(23000, 23999))
    # Where the forwards of services can be reached: one address of the host, or None for every one.
    service_address: str | None = "127.0.0.1"
    default_image: str = "nexus-base"
    default_resources: Resources = field(default=Resources(cpu=2, memory="4GiB", disk="20GiB"))
    # One for each core: on a node with two, four at once end a tenth sooner, and let everything else wait twice
    # as long (measured: docs/reference/limits.md); without a bound some fail.
    creations_at_once: int = 2
    # How many more may meanwhile be cloning, setting up or starting services: that is bounded by their own limits.
    waiting_inside: int = 60
    others_at_once: int = 8
    stop_grace: float = 10.0
    # How long a workspace whose repository is uploaded waits for it.
    bundle_wait: float = 300.0
    looks_at_once: int = 64
    deadlines: Mapping[StepName, float] = field(default_factory=lambda: dict(DEADLINES))
    heartbeat_interval: float = 10.0
    reconcile_interval: float = 30.0
    orphan_grace: float = 60.0
    retention_days: float = 30.0
    idempotency_hours: float = 24.0
