"""git's own server on the workspaces' bridge, for the demo and the end-to-end tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

BRIDGE = "nexusbr0"
_PATIENCE = 10.0


def bridge_address(bridge: str = BRIDGE) -> str:
    """The host's address on the bridge, where workspaces reach it."""
    told = subprocess.run(["ip", "-4", "-o", "addr", "show", "dev", bridge], capture_output=True, check=True, text=True)
    return told.stdout.split()[3].partition("/")[0]


@contextmanager
def git_daemon(folder: Path, bridge: str = BRIDGE) -> Generator[str]:
    """Serves every repository in the folder; the address to put a name behind."""
    address = bridge_address(bridge)
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    command = ["git", "daemon", f"--base-path={folder}", "--export-all", "--reuseaddr", f"--listen={address}"]
    # It complains of the connection that finds out whether it listens.
    process = subprocess.Popen([*command, f"--port={port}", str(folder)], stderr=subprocess.DEVNULL)
    try:
        _await(address, port)
        yield f"git://{address}:{port}"
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _await(address: str, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("git daemon does not answer") from None
            time.sleep(0.05)
        else:
            return
