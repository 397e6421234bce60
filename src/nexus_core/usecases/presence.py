"""Whether what a caller asks something of is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from nexus_core.domain.workspace import Workspace
from nexus_core.engine.observation import Observation
from nexus_core.errors import (
    Failed,
    InstanceMissing,
    InstanceStopped,
    ProviderUnavailable,
    Unavailable,
    WorkspaceNotRunning,
)
from nexus_core.ports.provider import WorkspaceProvider


async def require_provider(provider: WorkspaceProvider) -> None:
    """Raise `ProviderUnavailable` unless the provider answers now."""
    status = await provider.status()
    if not status.available:
        raise ProviderUnavailable("The provider does not answer", why=status.error or "")


@asynccontextmanager
async def in_a_running_container(observation: Observation, workspace: Workspace) -> AsyncGenerator[None]:
    """Raise `WorkspaceNotRunning` where the block finds the container stopped or gone, whatever the records said.

    The records say so, too, by then.
    """
    try:
        yield
    except (InstanceMissing, InstanceStopped) as error:
        with suppress(Unavailable, Failed):  # the next round looks again
            await observation.look(workspace)
        raise WorkspaceNotRunning(
            f"The container of {workspace.name} does not run",
            why=f"{error.what}.",
            fix=error.fix,
            details={"status": str(workspace.status)},
        ) from error
