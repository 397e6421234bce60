"""``nexus ssh-config``: host entries for OpenSSH, and for everything that reads its configuration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.connection import Connection, connected
from nexus_cli.errors import SshUnusable
from nexus_cli.known_hosts import Door, known_door, remember
from nexus_cli.names import checked_id
from nexus_cli.screen import answer_json, note, say

SUFFIX = ".nexus"

_WORD = re.compile(r"[A-Za-z0-9-]{1,63}")


def ssh_config(
    *,
    owner: Annotated[str | None, Parameter(alias="--user", help="Only this user's workspaces.")] = None,
    identity: Annotated[Path | None, Parameter(alias="-i", help="Private key to name in every entry.")] = None,
    connection: Connection | None = None,
) -> None:
    """Print host entries for OpenSSH and editors."""
    connection = connected(connection)
    api = connection.api()
    found = [api.get("workspaces", checked_id(one)) for one in api.workspaces(owner=owner)]
    doors = [(one, door) for one in found if (door := known_door(one)) is not None]
    for _, door in doors:
        remember(connection.state_path, door)
    if connection.json:
        answer_json({"workspaces": found})
        return
    entries = list(_named(doors))
    say("# Written by `nexus ssh-config`; do not edit, write it again instead.")
    for host, door in entries:
        say()
        for line in stanza(host, door, connection.state_path, identity):
            say(line)
    if not doors:
        note("No workspace can be opened with ssh yet.")


def _named(doors: Iterable[tuple[dict[str, Any], Door]]) -> Iterator[tuple[str, Door]]:
    """Each door with the name of its entry: the workspace's, after its owner's where names clash."""
    doors = list(doors)
    held = Counter(workspace["name"] for workspace, _ in doors)
    for workspace, door in doors:
        name, owner = str(workspace["name"]), str(workspace["owner"])
        if not (_WORD.fullmatch(name) and _WORD.fullmatch(owner)):
            raise SshUnusable(f"{owner}'s {name} has no name that can stand in a configuration file")
        yield (f"{owner}.{name}" if held[name] > 1 else name) + SUFFIX, door


def stanza(host: str, door: Door, directory: Path, identity: Path | None = None) -> list[str]:
    """One entry of an OpenSSH configuration file."""
    lines = [f"Host {host}", *(f"    {option} {value}" for option, value in door.options(directory).items())]
    if identity is not None:
        lines += [f'    IdentityFile "{identity.expanduser().absolute()}"', "    IdentitiesOnly yes"]
    return lines
