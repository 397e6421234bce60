"""``nexus backup`` and ``nexus restore``: a copy of the database, and the way back."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nexus_cli.errors import FileExists, FileUnreadable, WrongUsage
from nexus_cli.screen import answer_json, note, say
from nexus_cli.serve import cannot_serve
from nexus_cli.words import duration, size
from nexus_core.errors import NexusError
from nexus_wiring.settings import load
from nexus_wiring.state import StateDirectory

StateDir = Annotated[Path | None, Parameter(help="The server's state directory, where the database is.")]
Config = Annotated[Path | None, Parameter(env_var="NEXUS_CONFIG", help="The server's settings file.")]
AsJson = Annotated[bool, Parameter(negative=(), show_default=False, help="Print JSON, and errors as JSON too.")]


def backup(
    file: Annotated[Path, Parameter(name="FILE", allow_leading_hyphen=True, help="Where the backup goes.")],
    /,
    *,
    force: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Replace a file that is there, in one step."),
    ] = False,
    state_dir: StateDir = None,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Copy the database to a file, whole and verified, while the server runs or not."""
    target = file.expanduser().absolute()
    _require_place(file, target, force=force)
    began = time.monotonic()
    try:
        from nexus_wiring.backups import back_up

        state = _state(state_dir, config)
        held = back_up(state, target)
    except NexusError as error:
        raise cannot_serve(error) from error
    took = (time.monotonic() - began) * 1000
    count = target.stat().st_size
    if json:
        answer_json(
            {
                "file": str(target),
                "taken_at": _now(),
                "server_id": held.server_id,
                "schema_version": held.schema_version,
                "users": held.users,
                "workspaces": held.workspaces,
                "size_bytes": count,
                "duration_ms": round(took),
                "key_file": str(state.key_file),
            }
        )
        return
    say(f"{target}: {_amount(held.users, held.workspaces)}, {size(count)}, taken and verified in {duration(took)}")
    note(f"Not in it: {state.key_file}, without which it cannot be restored. Keep a copy of that, once, elsewhere.")
    note("Not in it either: what is inside the workspaces, and repositories that were sent and not taken in yet.")


def restore(
    file: Annotated[Path, Parameter(name="FILE", help="A backup that `nexus backup` wrote.")],
    /,
    *,
    state_dir: StateDir = None,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Put a backup in the database's place, verified and in one step; the server must be stopped."""
    source = file.expanduser().absolute()
    if not source.is_file():
        why = "It is not there." if not source.exists() else "It is not a file."
        raise FileUnreadable(f"{source} cannot be restored", why=why, fix="Name a file that `nexus backup` wrote.")
    try:
        from nexus_wiring.backups import put_back

        state = _state(state_dir, config)
        done = put_back(state, source)
    except NexusError as error:
        raise cannot_serve(error) from error
    held = done.contents
    if json:
        answer_json(
            {
                "database": str(state.database),
                "restored_at": _now(),
                "server_id": held.server_id,
                "schema_version": held.schema_version,
                "users": held.users,
                "workspaces": held.workspaces,
                "kept": None if done.kept is None else str(done.kept),
            }
        )
        return
    say(f"{state.database} is the backup now: {_amount(held.users, held.workspaces)}")
    if done.kept is not None:
        note(f"What was there before is {done.kept}; delete it when you are sure.")
    note("Start the server. It knows nothing of what came after the backup: docs/how-to/back-up-and-restore.md.")


def _require_place(given: Path, target: Path, *, force: bool) -> None:
    """Raise what is said of a FILE that no backup can be written to."""
    if str(given) == "-":
        why = "A backup gets its name once it is verified, which a stream does not have."
        raise FileUnreadable("A backup cannot go to standard output", why=why, fix="Name a file.")
    if str(given).startswith("-"):
        raise WrongUsage(
            f"There is no option {given}", fix=f"See `nexus backup --help`; a file of that name is ./{given}."
        )
    if not target.parent.is_dir():
        raise FileUnreadable(f"There is no folder {target.parent}", fix="Make it first.")
    if target.exists() and not target.is_file():
        raise FileUnreadable(f"{target} is not a file", fix="Name a file.")
    if target.exists() and not force:
        raise FileExists(f"{target} is there already", fix="Name another file, or replace it with --force.")


def _state(state_dir: Path | None, config: Path | None) -> StateDirectory:
    settings, _ = load(config, os.environ, {"state_dir": None if state_dir is None else str(state_dir)})
    return StateDirectory(settings.state_path)


def _amount(users: int, workspaces: int) -> str:
    return f"{users} user{'' if users == 1 else 's'}, {workspaces} workspace{'' if workspaces == 1 else 's'}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
