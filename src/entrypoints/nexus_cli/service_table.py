"""Services and how they fare, as a table for a person to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nexus_cli.screen import columns, note, say
from nexus_cli.words import age

_HEADER = ("SERVICE", "STATUS", "HEALTH", "PORT", "ADDRESS", "NEEDS", "CHECKED")


def show_services(services: Iterable[Mapping[str, Any]], *, error: bool = False) -> None:
    """The services in their order, and below them what is wrong with any; with ``error``, on standard error."""
    services = list(services)
    rows = [
        (
            one["name"],
            one["status"],
            one["health"],
            str(one["port"] or "-"),
            one["url"] or "-",
            ", ".join(one["depends_on"]) or "-",
            f"{age(one['last_check'])} ago" if one["last_check"] else "never",
        )
        for one in services
    ]
    columns(_HEADER, rows, (1, 2), error=error)
    for one in services:
        for index, line in enumerate(str(one["error"] or "").splitlines()):
            text = f"{one['name']}: {line}" if index == 0 else f"  {line}"
            if error:
                note(text, style="red")
            else:
                say(text, style="red")
