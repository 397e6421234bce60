"""Plain pages, told by index.html: what needs no more than a web server."""

from __future__ import annotations

from typing import Final

from nexus_cli.projects.found import Files, Found, Proposal

_COMMAND: Final = "python3 -m http.server {port} --bind 127.0.0.1"


def recognise(files: Files) -> Found | None:
    """A web server for the folder, if it has an index.html."""
    if "index.html" not in files:
        return None
    return Found("plain pages (index.html)", services=(Proposal("web", _COMMAND.format(port=8000), 8000, _COMMAND),))
