"""Writing down what happens: a workspace's new state and the event that tells of it, together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from nexus_core.domain.lifecycle import Move, Status, begin
from nexus_core.domain.operation import (
    BEGINS_AS,
    Operation,
    OperationKind,
    OperationStatus,
    Step,
    StepName,
    plan,
)
from nexus_core.domain.service import Health, Service, ServiceStatus
from nexus_core.domain.user import User
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import InternalError
from nexus_core.ports.records import Event
from nexus_core.ports.store import Records

_KINDS = {Move.START: OperationKind.START, Move.STOP: OperationKind.STOP, Move.DELETE: OperationKind.DELETE}

# What its services do once a workspace has this status; in others they fare as they do.
_SERVICES_THEN = {Status.STARTING: ServiceStatus.PENDING, Status.STOPPED: ServiceStatus.STOPPED}


def workspace_of(records: Records, operation: Operation) -> Workspace:
    """The workspace the operation works on; the database keeps it as long as the operation."""
    workspace = records.workspaces.get(operation.workspace_id)
    if workspace is None:
        raise InternalError(f"Workspace {operation.workspace_id} vanished from the database")
    return workspace


def owner_of(records: Records, workspace: Workspace) -> User:
    """Whose the workspace is; the database keeps users as long as their workspaces."""
    owner = records.users.get(workspace.owner_id)
    if owner is None:
        raise InternalError(f"The owner of {workspace.id} vanished from the database")
    return owner


def save(records: Records, before: Workspace, after: Workspace, now: datetime) -> Workspace:
    """Store a changed workspace, with an event if its status changed, and its services as they then are."""
    records.workspaces.update(after)
    if after.status is not before.status:
        tell_status(records, after, now, previous=before.status)
        services = _SERVICES_THEN.get(after.status)
        if services is not None:
            show_services(records, after.id, services, now)
    return after


def show_services(records: Records, workspace_id: str, status: ServiceStatus, now: datetime) -> None:
    """Store that all services of the workspace do this, whatever they did before."""
    for one in records.services.of_workspace(workspace_id):
        save_service(records, one, replace(one, status=status, health=Health.UNKNOWN, error=None), now)


def save_service(records: Records, before: Service, after: Service, now: datetime) -> Service:
    """Store a changed service, with an event if people would notice the change."""
    if after == before:
        return before
    records.services.update(after)
    if (before.status, before.health, before.error) != (after.status, after.health, after.error):
        data = {
            "service": after.name,
            "status": str(after.status),
            "health": str(after.health),
            "error": after.error,
        }
        records.events.add(Event(after.workspace_id, "service", now, data))
    return after


def tell_status(records: Records, workspace: Workspace, now: datetime, *, previous: str | None) -> None:
    """Record that the workspace's status is now what it is."""
    error = workspace.error
    data = {
        "status": str(workspace.status),
        "previous": previous and str(previous),
        "error": error and {"code": error.code, "message": error.message, "step": error.step},
    }
    records.events.add(Event(workspace.id, "status", now, data))


def tell_step(records: Records, operation: Operation, step: Step, now: datetime) -> None:
    """Record how a step of an operation fares."""
    data = {
        "operation": str(operation.kind),
        "step": str(step.name),
        "status": str(step.status),
        "duration_ms": step.duration_ms,
        "error": step.error,
    }
    records.events.add(Event(operation.workspace_id, "step", now, data))


def enqueue(
    records: Records,
    workspace: Workspace,
    kind: OperationKind,
    operation_id: str,
    now: datetime,
    *,
    force: bool = False,
) -> Operation:
    """Put a new operation on the workspace into the queue."""
    operation = Operation(
        id=operation_id,
        workspace_id=workspace.id,
        kind=kind,
        status=OperationStatus.QUEUED,
        steps=plan(kind, workspace, without=_idle_steps(records, workspace)),
        created_at=now,
        force=force,
    )
    records.operations.add(operation)
    return operation


def _idle_steps(records: Records, workspace: Workspace) -> set[StepName]:
    """Steps that are known beforehand to have nothing to do; a repository not yet seen may bring them work."""
    if workspace.repository is not None and StepName.CLONE_REPOSITORY not in workspace.provisioned:
        return set()
    recipe, services = records.recipes.get(workspace.id), records.services.of_workspace(workspace.id)
    idle = {StepName.CLONE_REPOSITORY}
    if workspace.repository is not None and not recipe.asked.services:
        return idle  # its file is read anew, and may say something else by now
    if not recipe.setup:
        idle.add(StepName.RUN_SETUP)
    if not (services or recipe.goes_with_services):
        idle.add(StepName.START_SERVICES)
    if not any(one.wants_forward for one in services):
        idle.add(StepName.FORWARD_PORTS)
    return idle


def supersede(
    records: Records,
    workspace: Workspace,
    move: Move,
    operation_id: str,
    now: datetime,
    *,
    force: bool = False,
) -> Operation:
    """Begin the asked move: give up what is under way, change the status, and queue the operation.

    Raises what `lifecycle.begin` raises, before anything is written.
    """
    begin(workspace.status, move)
    under_way = records.operations.unfinished(workspace.id)
    if under_way is not None:
        records.operations.update(under_way.cancelled(now))
    kind = _KINDS[move]
    first = BEGINS_AS[kind] or workspace.status
    begun = save(records, workspace, workspace.become(first, now), now)
    return enqueue(records, begun, kind, operation_id, now, force=force)
