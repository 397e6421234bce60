"""What every handler is given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address

from nexus_core import Nexus
from nexus_http.meters import HttpMeters


@dataclass(frozen=True, slots=True)
class Site:
    """The Nexus behind the API, the host that people reach workspaces at, the version and the meters to show.

    ``stopping`` is set when the server is told to stop: answers that would go on for ever end then. One
    object, not five: Litestar starts a task group where a handler depends on more than one.
    """

    nexus: Nexus
    public_host: str
    version: str
    meters: HttpMeters
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def forwards_host(self) -> str:
        """Where forwards of services are reached: on loopback, unless the operator has them published further."""
        address = self.nexus.policy.service_address
        if address is not None and ip_address(address).is_loopback:
            return "localhost"
        # A colon is part of an IPv6 address, which has brackets around it in a URL.
        return f"[{self.public_host}]" if ":" in self.public_host else self.public_host
