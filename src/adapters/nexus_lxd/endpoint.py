"""Why nothing answers at LXD's socket: what can be seen of it from outside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from nexus_core.domain.finding import Area, Finding, said
from nexus_core.errors import ProviderUnavailable
from nexus_lxd.connection import endpoint_url
from nexus_lxd.unix_socket import SCHEME

_START: Final = "Start it: `systemctl start lxd` or `snap start lxd`, or run `make setup`."


def why_silent(endpoint: str | None, error: ProviderUnavailable, area: Area) -> Finding:
    """The finding for a daemon that could not be asked."""
    url = endpoint_url(endpoint)
    if not url.startswith(SCHEME):
        return area.failure("daemon", said(error), error.fix)
    socket = Path(unquote(url.removeprefix(SCHEME)))
    try:
        is_there = socket.exists()
    except PermissionError:
        is_there = True
    if not is_there:
        installed = any(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin") for name in ("lxd", "lxc"))
        if not installed:
            return area.failure("daemon", "LXD is not installed", "Run `make setup` as root.")
        return area.failure("daemon", f"LXD does not run: there is no {socket}", _START)
    if not os.access(socket, os.R_OK | os.W_OK):
        fix = "Run `nexus doctor` as root, or as a user in the group `lxd`."
        return area.warning("daemon", f"could not be looked at: this user may not use {socket}", fix)
    return area.failure("daemon", f"nothing answers at {socket}: {error.why.rstrip('.')}", _START)
