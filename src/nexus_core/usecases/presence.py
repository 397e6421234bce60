"""Whether the provider is there for work that a caller waits for."""

from __future__ import annotations

from nexus_core.errors import ProviderUnavailable
from nexus_core.ports.provider import WorkspaceProvider


async def require_provider(provider: WorkspaceProvider) -> None:
    """Raise `ProviderUnavailable` unless the provider answers now."""
    status = await provider.status()
    if not status.available:
        raise ProviderUnavailable("The provider does not answer", why=status.error or "")
