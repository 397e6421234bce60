"""Leading host ports to services, and no longer."""

from __future__ import annotations

from nexus_core.domain.user import Caller
from nexus_core.engine.forwards import Forwards, Opened, existing_service
from nexus_core.engine.observation import Observation
from nexus_core.errors import HostPortTaken, PortForwardNotFound, PortInUse
from nexus_core.ports.store import Store
from nexus_core.usecases.presence import in_a_running_container
from nexus_core.usecases.sight import running_workspace, visible_workspace


class ForwardPort:
    """Forwards one service of a running workspace."""

    def __init__(self, *, store: Store, forwards: Forwards, observation: Observation) -> None:
        self._store = store
        self._observation = observation
        self._forwards = forwards

    async def __call__(self, caller: Caller, workspace_id: str, name: str, *, port: int | None = None) -> Opened:
        """The forward once it is in place; it is there again after each start of the workspace.

        A service that is forwarded already answers with what there is, unless another ``port`` is named: then
        it moves there. Raises `WorkspaceNotFound`, `ServiceNotFound`, `WorkspaceNotRunning`, `InvalidRequest`,
        `PortInUse`, `HostPortsExhausted`, `ProviderUnavailable` and `PublishFailed`; nothing has changed then.
        """
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            existing_service(records, workspace, name)
            running_workspace(workspace)
        try:
            async with in_a_running_container(self._observation, workspace):
                return await self._forwards.open(workspace, name, port=port)
        except HostPortTaken as exc:
            raise PortInUse(f"Port {port} of the host is in use", why=exc.why, details={"mapped_port": port}) from exc


class CloseForward:
    """Forwards a service no longer."""

    def __init__(self, *, store: Store, forwards: Forwards) -> None:
        self._store = store
        self._forwards = forwards

    async def __call__(self, caller: Caller, workspace_id: str, name: str) -> None:
        """Return once no new connection gets in; the service is not forwarded at the next start either.

        Raises `WorkspaceNotFound`, `ServiceNotFound`, `PortForwardNotFound` and `PublishFailed`.
        """
        with self._store.snapshot() as records:
            workspace = visible_workspace(records, caller, workspace_id)
            existing_service(records, workspace, name)
        if not await self._forwards.close(workspace, name):
            raise PortForwardNotFound(f"Service {name!r} of {workspace.name} is not forwarded")
