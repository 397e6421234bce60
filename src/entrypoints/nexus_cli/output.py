"""``nexus logs``: what a service, or the cloning and set-up of a workspace, wrote."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from nexus_cli.connection import Connection, connected
from nexus_cli.harmless import Harmless
from nexus_cli.names import workspace_id
from nexus_cli.workspaces import Name, Owner


def logs(
    name: Name,
    service: Annotated[str | None, Parameter(help="The service; without it, the output of cloning and set-up.")] = None,
    /,
    *,
    follow: Annotated[
        bool, Parameter(alias="-f", negative=(), show_default=False, help="Go on with what is written from now on.")
    ] = False,
    lines: Annotated[int, Parameter(alias="-n", help="How many of the last lines to begin with.")] = 200,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Print what a service wrote, or cloning and set-up."""
    connection = connected(connection)
    api = connection.api()
    path = ["workspaces", workspace_id(api, name, owner)]
    path += ["logs"] if service is None else ["services", service, "logs"]
    query = {"lines": lines, "follow": "true" if follow else "false"}
    with api.text(*path, query=query) as pieces:
        if sys.stdout.isatty():
            _show(pieces)
        else:
            _pass_on(pieces)


def _pass_on(pieces: Iterable[bytes]) -> None:
    """Byte for byte: a file or a program gets what was written."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _show(pieces: Iterable[bytes]) -> None:
    """Text and colours: nothing else that a program in a workspace writes reaches the terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    harmless = Harmless()
    try:
        for piece in pieces:
            sys.stdout.write(harmless.feed(decoder.decode(piece)))
            sys.stdout.flush()
        sys.stdout.write(harmless.feed(decoder.decode(b"", final=True)))
    finally:
        sys.stdout.write(harmless.end())
        sys.stdout.flush()
