"""Restarting one service."""

from __future__ import annotations

from dataclasses import replace

from nexus_core.domain.service import Health, Service, ServiceStatus
from nexus_core.domain.user import Caller
from nexus_core.engine.forwards import existing_service
from nexus_core.engine.health import HealthMonitor
from nexus_core.engine.journal import save_service
from nexus_core.engine.observation import Observation
from nexus_core.errors import InvalidRequest
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Workbench
from nexus_core.usecases.presence import in_a_running_container
from nexus_core.usecases.sight import running_workspace, visible_workspace


class RestartService:
    """Stops a service of a running workspace and begins to start it; what depends on it goes on."""

    def __init__(
        self, *, store: Store, workbench: Workbench, observation: Observation, monitor: HealthMonitor, clock: Clock
    ) -> None:
        self._store = store
        self._observation = observation
        self._workbench = workbench
        self._monitor = monitor
        self._clock = clock

    async def __call__(self, caller: Caller, workspace_id: str, name: str) -> Service:
        """The service, ``starting``; whether it comes up shows in its status.

        Raises `WorkspaceNotFound`, `ServiceNotFound`, `WorkspaceNotRunning`, `InvalidRequest` for one that has
        no command, `ProviderUnavailable` and `ProviderFailed`.
        """
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            service = existing_service(records, workspace, name)
            running_workspace(workspace)
        if service.spec.command is None:
            raise InvalidRequest(f"Service {name!r} has no command, so there is nothing to restart")
        async with in_a_running_container(self._observation, workspace):
            await self._workbench.restart(workspace.container_id, name)
        now = self._clock.now()
        with self._store.transaction() as records:
            # It takes a while, and somebody may have stopped the workspace meanwhile.
            running_workspace(visible_workspace(records, caller, workspace_id))
            latest = existing_service(records, workspace, name)
            starting = replace(latest, status=ServiceStatus.STARTING, health=Health.UNKNOWN, error=None)
            restarted = save_service(records, latest, starting, now)
        self._monitor.nudge()
        return restarted
