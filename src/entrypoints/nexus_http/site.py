"""What every handler is given."""

from __future__ import annotations

from dataclasses import dataclass

from nexus_core import Nexus


@dataclass(frozen=True, slots=True)
class Site:
    """The Nexus behind the API, the host that people reach workspaces at, and the version to show.

    One object, not three: Litestar starts a task group where a handler depends on more than one.
    """

    nexus: Nexus
    public_host: str
    version: str
