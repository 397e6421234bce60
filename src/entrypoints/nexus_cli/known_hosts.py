"""Where a workspace answers SSH, and the file that holds its host key.

Each workspace has a file of its own under ``ssh/`` in the client's state directory, named by its
id. The key stands there under that id as well, and ssh is told to look for it so (HostKeyAlias): a
port that changes hands, or stale lines in the user's own known_hosts, mean nothing then.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_cli.errors import FileUnreadable, SshUnusable
from nexus_cli.names import checked_id

_HOST = re.compile(r"(?!-)[A-Za-z0-9._:-]{1,255}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{16,8192}={0,2}")


@dataclass(frozen=True, slots=True)
class Door:
    """How a workspace is opened; every part is checked, as all of them come from the server."""

    workspace_id: str
    host: str
    port: int
    user: str
    host_key: str

    def options(self, directory: Path) -> dict[str, str]:
        """What ssh must be told, on its command line or in a file, whatever else the user's own file says.

        The rest of that file holds: identities, agents, jump hosts.
        """
        return {
            "HostName": self.host,
            "Port": str(self.port),
            "User": self.user,
            "HostKeyAlias": self.workspace_id,
            "UserKnownHostsFile": f'"{path_of(directory, self.workspace_id)}"',
            "StrictHostKeyChecking": "yes",
            "VerifyHostKeyDNS": "no",
            "UpdateHostKeys": "no",
            # A shared connection is often keyed by host and user alone, which all workspaces have in common.
            "ControlPath": "none",
        }


def door_of(workspace: Mapping[str, Any]) -> Door:
    """The workspace's SSH door; raises `SshUnusable` where it has none, or not a proper one."""
    ssh = workspace["ssh"]
    name, status = workspace["name"], workspace["status"]
    if status != "running":
        fix = f"Start it with `nexus start {name}`." if status in ("stopped", "error") else "Wait until it runs."
        raise SshUnusable(f"{name} is {status}, not running", fix=fix)
    return _checked(checked_id(dict(workspace)), ssh or {}, name)


def known_door(workspace: Mapping[str, Any]) -> Door | None:
    """The door of a workspace that has one by now, running or not."""
    ssh = workspace["ssh"] or {}
    if not (ssh.get("port") and ssh.get("host_key")):
        return None
    return _checked(checked_id(dict(workspace)), ssh, workspace["name"])


def _checked(identifier: str, ssh: Mapping[str, Any], name: str) -> Door:
    host, port, user, key = (ssh.get(field) for field in ("host", "port", "user", "host_key"))
    fits = (
        isinstance(host, str)
        and _HOST.fullmatch(host)
        and isinstance(port, int)
        and 0 < port < 65536
        and isinstance(user, str)
        and _USER.fullmatch(user)
        and isinstance(key, str)
        and _KEY.fullmatch(key)
    )
    if not fits:
        raise SshUnusable(f"What the server says of {name}'s SSH server is incomplete or unsound")
    return Door(identifier, str(host), int(str(port)), str(user), str(key))


def path_of(directory: Path, workspace_id: str) -> Path:
    """The workspace's own known_hosts file."""
    return directory / "ssh" / workspace_id


def remember(directory: Path, door: Door) -> None:
    """Write the workspace's known_hosts file, whole or not at all, readable by its owner alone."""
    path = path_of(directory, door.workspace_id)
    if any(char in str(path) for char in '"%$\n'):
        fix = "Choose another one with --state-dir."
        raise FileUnreadable(f"ssh cannot use files in {directory}, because of its name", fix=fix)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="ascii") as file:
            file.write(f"{door.workspace_id} {door.host_key}\n")
        os.replace(file.name, path)  # noqa: PTH105  # the name is a string here
    except OSError as exc:
        fix = "Choose a directory of your own with --state-dir or NEXUS_STATE_DIR."
        raise FileUnreadable(f"{path} cannot be written", why=f"{exc.strerror}.", fix=fix) from exc


def forget(directory: Path, workspace_id: str) -> None:
    """Remove the workspace's known_hosts file, if there is one and it is ours to remove."""
    with suppress(OSError):
        path_of(directory, workspace_id).unlink()
