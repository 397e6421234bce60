"""Work inside instances that run systemd: repository, scripts and services as units, which need no server.

Built on the port `Interior` alone, so that any provider whose instances run systemd can use it.
"""

from __future__ import annotations

from nexus_systemd.workbench import SystemdWorkbench

__all__ = ["SystemdWorkbench"]
