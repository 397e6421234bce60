"""Bringing what the records say of a workspace to what its container is."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from nexus_core.domain.lifecycle import Move, Status
from nexus_core.domain.operation import StepName
from nexus_core.domain.service import ServiceStatus
from nexus_core.domain.workspace import Failure, Workspace
from nexus_core.engine.engine import Engine
from nexus_core.engine.forwards import withdraw_ports
from nexus_core.engine.journal import save, show_services, supersede
from nexus_core.errors import InstanceMissing, InstanceStopped, NexusError, ProviderFailed
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.port_publisher import PortPublisher
from nexus_core.ports.provider import Instance, InstanceState, WorkspaceProvider
from nexus_core.ports.store import Records, Store

_log = logging.getLogger(__name__)

LASTING = frozenset({Status.RUNNING, Status.STOPPED, Status.ERROR})
"""Statuses in which nobody works on a workspace, so that it is as its container is."""


class Observation:
    """Looks at one workspace's container and writes down what it finds; work under way is left alone.

    A container that went down with the machine is started again, and one that somebody started by hand makes
    its workspace run with it. One that somebody stopped stays stopped: nothing is restarted in silence.
    """

    def __init__(
        self,
        *,
        store: Store,
        provider: WorkspaceProvider,
        publisher: PortPublisher,
        engine: Engine,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._provider = provider
        self._publisher = publisher
        self._engine = engine
        self._clock = clock
        self._ids = ids

    async def differing(self, listed: Iterable[Instance]) -> list[Workspace]:
        """The workspaces whose container is not as the records say, by what the provider has just listed."""
        states = {one.name: one.state for one in listed}
        with self._store.snapshot() as records:
            lasting = records.workspaces.with_status(LASTING)
        return [one for one in lasting if _differs(one, states.get(one.container_id, InstanceState.ABSENT))]

    async def look(self, workspace: Workspace) -> None:
        """See how the container is at this moment, and let the records say so.

        Raises `ProviderUnavailable` or `ProviderFailed` if it cannot be seen; nothing has changed then.
        """
        observed = await self._provider.observe(workspace.container_id)
        elsewhere = None
        if observed.state is InstanceState.ABSENT:
            everyone = await self._provider.instances()
            elsewhere = next((one.name for one in everyone if one.workspace_id == workspace.id), None)
        now = self._clock.now()
        with self._store.transaction() as records:
            latest = records.workspaces.get(workspace.id)
            if latest is None or latest.status is not workspace.status or not _differs(latest, observed.state):
                return
            if records.operations.unfinished(latest.id):
                return
            if observed.state is InstanceState.RUNNING:
                self._start(records, latest, "The container was started by another's hand")
            elif observed.cut_off:
                self._start(records, self._stopped(records, latest), "The container went down with LXD or the machine")
            elif observed.state is InstanceState.STOPPED:
                self._stopped(records, self._noted(latest, "The container stopped by itself or by another's hand"))
            else:
                fault = _fault(observed, elsewhere)
                broken = latest.become(Status.ERROR, now, error=Failure(fault.code, fault.message, None))
                save(records, latest, broken, now)
                show_services(records, latest.id, ServiceStatus.STOPPED, now)
        _log.warning("the container is %s", observed.state, extra={"workspace_id": workspace.id})
        self._engine.admit()
        if observed.state is not InstanceState.RUNNING and not observed.cut_off:
            await withdraw_ports(self._store, self._publisher, workspace)

    def _stopped(self, records: Records, workspace: Workspace) -> Workspace:
        now = self._clock.now()
        return save(records, workspace, workspace.become(Status.STOPPED, now), now)

    def _start(self, records: Records, workspace: Workspace, why: str) -> None:
        noted = self._noted(workspace, f"{why}, and is started with all that belongs to it")
        supersede(records, noted, Move.START, self._ids.new("op"), self._clock.now())

    def _noted(self, workspace: Workspace, says: str) -> Workspace:
        """The workspace with this note in the place of an older one that says the same."""
        others = (note for note in workspace.notes if not note.startswith(says))
        return replace(workspace, notes=(*others, f"{says} ({self._clock.now():%Y-%m-%d %H:%M} UTC)."))


def _differs(workspace: Workspace, state: InstanceState) -> bool:
    """Whether the records say another thing of the container than its state."""
    if workspace.status is Status.RUNNING:
        return state is not InstanceState.RUNNING
    if workspace.status is Status.STOPPED:
        # One that was given up early has no container yet.
        is_made = StepName.CREATE_INSTANCE in workspace.provisioned
        return state is not InstanceState.STOPPED and (is_made or state is not InstanceState.ABSENT)
    # An operation that failed has said what is wrong, and leaves what there is for a look.
    return workspace.error is not None and workspace.error.step is None and state is InstanceState.RUNNING


def _fault(observed: Instance, elsewhere: str | None) -> NexusError:
    """What is wrong with a container that neither runs nor is stopped, and what to do about it."""
    name = observed.name
    if observed.state is InstanceState.FROZEN:
        return InstanceStopped(
            f"The container {name} is paused", why="Somebody paused it by hand.", fix="Start the workspace."
        )
    if observed.state is not InstanceState.ABSENT:
        return ProviderFailed(
            f"The container {name} is {observed.state}",
            why="Somebody changed it by hand, or its start went wrong.",
            fix="Start the workspace, which puts right what can be; else look at it in the provider, or delete it.",
        )
    if elsewhere is not None:
        return InstanceMissing(
            f"There is no container {name} any more",
            why=f"Somebody renamed it to {elsewhere}.",
            fix=f"Rename it back (`lxc rename {elsewhere} {name}`), then start the workspace; or delete the workspace.",
        )
    return InstanceMissing(
        f"There is no container {name} any more", why="Somebody removed it, or this server's mark from it, by hand."
    )
