"""``nexus ssh``: become OpenSSH's own client, told where the workspace is and which host key it has."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nexus_cli.connection import Connection, connected
from nexus_cli.errors import SshUnusable
from nexus_cli.known_hosts import Door, door_of, remember
from nexus_cli.names import workspace_id
from nexus_cli.workspaces import Name, Owner


def ssh(
    name: Name,
    /,
    *command: Annotated[str, Parameter(help="What to run instead of a shell; goes after --.")],
    identity: Annotated[
        Path | None, Parameter(alias="-i", help="Private key to use, instead of ssh's own choice.")
    ] = None,
    tty: Annotated[
        bool,
        Parameter(alias="-t", negative=(), show_default=False, help="With a terminal, as full-screen commands need."),
    ] = False,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Open a workspace, or run a command in it."""
    connection = connected(connection)
    api = connection.api()
    door = door_of(api.get("workspaces", workspace_id(api, name, owner)))
    remember(connection.state_path, door)
    arguments = command_line(door, connection.state_path, command=command, identity=identity, tty=tty)
    try:
        os.execvp("ssh", arguments)  # noqa: S606, S607  # no shell is wanted, and the user's own ssh is
    except OSError as exc:
        fix = "Install OpenSSH's client (Debian and Ubuntu: openssh-client)."
        raise SshUnusable("ssh cannot be run", why=f"{exc.strerror}.", fix=fix) from exc


def command_line(
    door: Door, directory: Path, *, command: Sequence[str] = (), identity: Path | None = None, tty: bool = False
) -> list[str]:
    """The arguments of ssh, its own name first.

    One word of command is a line for the workspace's shell, as with ssh itself; several are one
    program and its arguments, each of which arrives as it is here.
    """
    arguments = ["ssh", "-p", str(door.port)]
    for option, value in door.options(directory).items():
        if option != "Port":
            arguments += ["-o", f"{option}={value}"]
    if command:
        arguments += ["-o", "RemoteCommand=none"]  # ssh refuses to run two
    if identity is not None:
        arguments += ["-i", str(identity.expanduser()), "-o", "IdentitiesOnly=yes"]
    if tty:
        arguments.append("-t")
    # After -- and the host nothing is taken for an option of ssh any more.
    arguments += ["--", f"{door.user}@{door.host}"]
    if len(command) == 1:
        arguments += command
    elif command:
        arguments.append(shlex.join(command))
    return arguments
