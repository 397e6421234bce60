"""What is to be looked at when an error of a code is counted."""

from __future__ import annotations

from typing import Final

from nexus_core import errors

_SOURCES: Final = {
    "provider": (
        errors.ProviderUnavailable,
        errors.ProviderFailed,
        errors.InstanceMissing,
        errors.InstanceStopped,
        errors.ImageUnavailable,
    ),
    "database": (errors.DatabaseBusy, errors.StoreFailed, errors.SchemaTooNew),
    "host": (errors.HostPortsExhausted, errors.HostPortTaken, errors.PublishFailed),
    "ssh": (errors.SshNotReady, errors.HostKeyMismatch),
    "workspace": (
        errors.CloneFailed,
        errors.BundleMissing,
        errors.InvalidConfig,
        errors.SetupFailed,
        errors.ServiceFailed,
    ),
    "nexus": (errors.DeadlineExceeded, errors.InternalError),
}

SOURCES: Final = {error.code: source for source, members in _SOURCES.items() for error in members}


def source_of(code: str) -> str:
    """The provider, the database, the host, its SSH servers, what is inside the workspace, or Nexus itself."""
    return SOURCES.get(code, "nexus")
