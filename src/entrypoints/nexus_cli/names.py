"""From what a person calls a workspace to its id."""

from __future__ import annotations

import re
from typing import Any

from nexus_cli.api import Api
from nexus_cli.errors import AmbiguousName, NoSuchWorkspace, ServerUnreachable

_ID = re.compile(r"ws-[a-z0-9]{12}")


def workspace_id(api: Api, name: str, owner: str | None = None) -> str:
    """The id itself, or that of the one workspace of this name which the caller may see.

    Raises `NoSuchWorkspace` or `AmbiguousName`.
    """
    if _ID.fullmatch(name):
        return name
    found = [one for one in api.workspaces(owner=owner) if one["name"] == name]
    if not found:
        whose = f" of {owner}'s" if owner else ""
        raise NoSuchWorkspace(f"No workspace{whose} is named {name!r}")
    if len(found) > 1:
        choices = {str(one["workspace_id"]): f"{one['owner']}'s, {one['status']}" for one in found}
        raise AmbiguousName(f"{len(found)} workspaces are named {name!r}", details=choices)
    return checked_id(found[0])


def checked_id(workspace: dict[str, Any]) -> str:
    """The workspace's id; one that could be anything else, a path say, is refused."""
    identifier = str(workspace["workspace_id"])
    if not _ID.fullmatch(identifier):
        raise ServerUnreachable("The server answers with ids that are not Nexus's")
    return identifier
