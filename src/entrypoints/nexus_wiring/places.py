"""Where things are kept by default; the standard library alone, so that the command line starts fast."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """/var/lib/nexus for root, else the user's state directory as the XDG specification has it."""
    if os.geteuid() == 0:
        return Path("/var/lib/nexus")
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "/")) / ".local" / "state")
    return Path(home) / "nexus"
