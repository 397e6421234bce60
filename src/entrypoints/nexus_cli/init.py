"""``nexus init``: a file that says how the repository at hand is set up and run."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from nexus_cli.errors import FileExists, FileUnreadable
from nexus_cli.screen import note, say

CONFIG: Final = Path(".nexus") / "config.yaml"


def init(
    folder: Annotated[
        Path | None,
        Parameter(name="PATH", help="Folder of the repository; the one around the current folder if not given."),
    ] = None,
    /,
    *,
    force: Annotated[bool, Parameter(negative=(), show_default=False, help="Write over a file that is there.")] = False,
    print_only: Annotated[
        bool, Parameter(name="--print", negative=(), show_default=False, help="Print the file, and write nothing.")
    ] = False,
) -> None:
    """Write .nexus/config.yaml for a repository: its set-up and its services."""
    from nexus_cli.projects.config_text import config_text
    from nexus_cli.projects.folder import read
    from nexus_cli.projects.recognition import recognise

    root = _around(Path.cwd()) if folder is None else folder.expanduser().absolute()
    try:
        known = recognise(read(root))
    except OSError as exc:
        raise FileUnreadable(f"{root} cannot be read", why=f"{exc.strerror}.") from exc
    text = config_text(root.resolve().name, known)
    if print_only:
        sys.stdout.write(text)
    else:
        _write(root / CONFIG, text, force=force)
    for kind in known.kinds:
        note(f"recognised: {kind}", style="green")
    for service in known.services:
        where = "" if service.port is None else f", port {service.port}"
        note(f"service {service.name}: {service.command}{where}", style="")
        if service.remark:
            note(f"  {service.remark}")
    for remark in known.remarks:
        note(f"note: {remark}", style="")
    if not known.kinds:
        note("Nothing was recognised: the file has examples to begin with.", style="yellow")
    if not print_only:
        say(f"{root / CONFIG} is written.")
        note(f"Look it over and commit it; then `nexus create NAME --repo {root}` makes a workspace of it.")


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the file whole or not at all; raises `FileExists` and `FileUnreadable`."""
    if path.exists() and not force:
        raise FileExists(f"{path} is there already", fix="Write over it with --force, or look at --print.")
    temporary = ""
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            temporary = file.name
            file.write(text)
        Path(temporary).chmod(0o644)  # it is committed, and no secret
        os.replace(temporary, path)  # noqa: PTH105  # the name is a string here
    except OSError as exc:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108  # the name is a string here, and may be empty
        raise FileUnreadable(f"{path} cannot be written", why=f"{exc.strerror}.") from exc


def _around(folder: Path) -> Path:
    """The repository that the folder is in, or the folder itself."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)
