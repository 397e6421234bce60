"""``nexus events``: what happens to workspaces, a line for each event."""

from __future__ import annotations

import sys
from contextlib import closing
from math import inf
from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.connection import Connection, connected
from nexus_cli.errors import ServerUnreachable
from nexus_cli.event_stream import NoStream, Told, told
from nexus_cli.names import workspace_id
from nexus_cli.screen import json_line, note, visible
from nexus_cli.words import duration
from nexus_cli.workspaces import Owner


def events(
    name: Annotated[str | None, Parameter(help="Name or id of a workspace; without it, everything.")] = None,
    /,
    *,
    after: Annotated[int | None, Parameter(help="Go on after the event with this id.")] = None,
    owner: Owner = None,
    connection: Connection | None = None,
) -> None:
    """Print what happens, until interrupted or until the workspace is deleted."""
    connection = connected(connection)
    api = connection.api()
    path = ["events"] if name is None else ["workspaces", workspace_id(api, name, owner), "events"]
    away = _Away(quiet=connection.json)
    # Nobody is waited for who was never there.
    api.get("workspaces", query={"limit": 1})
    try:
        with closing(told(api, *path, after=after, away=away.note, patience=inf)) as stream:
            for one in stream:
                away.is_over()
                if one is None or one.kind == "dropped":
                    continue
                sys.stdout.write((json_line(one.data) if connection.json else visible(line(one))) + "\n")
                sys.stdout.flush()
                if name is not None and (one.kind, one.data.get("status")) == ("status", "deleted"):
                    return
    except NoStream as exc:
        raise ServerUnreachable(
            f"{connection.url} streams no events",
            why="The server is older than this command, or a proxy in between holds them back.",
            fix="Bring the server up to date, or ask it without the proxy.",
        ) from exc


def line(one: Told) -> str:
    """The event or marker for people."""
    data = one.data
    if one.kind == "gap":
        return f"events may be missing here: {data.get('message')}"
    return f"{data.get('at')}  {data.get('owner')}/{data.get('name')}  {_words(one.kind, data)}".rstrip()


def _words(kind: str, data: dict[str, Any]) -> str:
    status, error = data.get("status"), data.get("error")
    if kind == "status":
        reason = f"  {error.get('message')}" if isinstance(error, dict) else ""
        return f"{data.get('previous') or 'new'} → {status}{reason}"
    reason = f"  {error}" if error else ""
    if kind == "step":
        return f"{data.get('step')} {status} {duration(data.get('duration_ms'))}".rstrip() + reason
    return f"{kind} {data.get('service', '')} {status}, {data.get('health')}{reason}"


class _Away:
    """Says once that the server is away, and once that it is back."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told = False

    def note(self, _seconds: float) -> None:
        if not (self._told or self._quiet):
            note("the server does not answer; waiting for it to come back")
        self._told = True

    def is_over(self) -> None:
        if self._told and not self._quiet:
            note("the server is back")
        self._told = False
