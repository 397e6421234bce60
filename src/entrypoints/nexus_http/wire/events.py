"""What clients are told of what happens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, StepName, StepStatus
from nexus_core.domain.service import Health, ServiceStatus
from nexus_core.ports.records import RecordedEvent
from nexus_core.usecases import watch_events
from nexus_http.wire.fields import Count, moment
from nexus_http.wire.workspace import WorkspaceError

EventId = Annotated[int, Meta(ge=0)]


class Happening(Struct, frozen=True, kw_only=True):
    """What every event has: its id, which grows, and the workspace it is about."""

    id: EventId
    workspace_id: str
    name: str
    owner: str
    at: datetime


class StatusEvent(Happening, frozen=True, kw_only=True):
    """A workspace's status changed; ``previous`` is null where it has only now come into being."""

    kind: Literal["status"]
    status: Status
    previous: Status | None
    error: WorkspaceError | None


class StepEvent(Happening, frozen=True, kw_only=True):
    """A step of the operation under way began, waits for something (``error`` says for what), or ended."""

    kind: Literal["step"]
    operation: OperationKind
    step: StepName
    status: StepStatus
    duration_ms: Count | None
    error: str | None


class ServiceEvent(Happening, frozen=True, kw_only=True):
    """A service's status, health or error changed."""

    kind: Literal["service"]
    service: str
    status: ServiceStatus
    health: Health
    error: str | None


class GapMarker(Struct, frozen=True, kw_only=True):
    """Events may be missing before the next one; what is kept has the ids from ``oldest_id`` to ``newest_id``."""

    kind: Literal["gap"]
    last_event_id: EventId
    oldest_id: EventId
    newest_id: EventId
    message: str

    @classmethod
    def of(cls, gap: watch_events.Gap) -> GapMarker:
        """The marker for this gap."""
        why = (
            f"No event {gap.asked} was given out yet; the server's database may have been restored."
            if gap.asked > gap.newest
            else f"Not all events after {gap.asked} are kept any more."
        )
        return cls(
            kind="gap",
            last_event_id=gap.asked,
            oldest_id=gap.oldest,
            newest_id=gap.newest,
            message=f"{why} Read the workspaces afresh.",
        )


class DroppedMarker(Struct, frozen=True, kw_only=True):
    """The connection ends because nothing was taken from it; the next one goes on after ``last_event_id``."""

    kind: Literal["dropped"]
    last_event_id: EventId
    reason: str


class EventStream:
    """The body of an answer that is a stream of these, as `text/event-stream`."""


KINDS: Final = (StatusEvent, StepEvent, ServiceEvent, GapMarker, DroppedMarker)


def told(event: RecordedEvent) -> dict[str, Any]:
    """The event as the API shows it: one of the above, made of what was written down when it happened."""
    return {
        "id": event.id,
        "kind": event.kind,
        "workspace_id": event.workspace_id,
        "name": event.name,
        "owner": event.owner,
        "at": moment(event.at),
        **event.data,
    }
