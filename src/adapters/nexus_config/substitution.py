"""The variables of devcontainer.json, such as ${containerWorkspaceFolder}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

WORKSPACE: Final = "/home/dev/workspace"

_KNOWN: Final[Mapping[str, str]] = {
    "containerWorkspaceFolder": WORKSPACE,
    "containerWorkspaceFolderBasename": "workspace",
    "localWorkspaceFolderBasename": "workspace",
}
_VARIABLE: Final = re.compile(
    r"\$\{(?:(?P<name>(?:container|local)WorkspaceFolder(?:Basename)?|devcontainerId)|(?:local|container)Env:[^}]*)\}"
)


def substituted(text: str) -> tuple[str, list[str]]:
    """The text with what is known here put in, and those of its variables that are not known."""
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        known = _KNOWN.get(match["name"] or "")
        if known is None:
            unknown.append(match[0])
        return match[0] if known is None else known

    return _VARIABLE.sub(value, text), unknown
