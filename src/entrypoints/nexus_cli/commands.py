"""Every command by name; the module behind one is imported when it is run or its help is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cyclopts import App, Group

WORKSPACES: Final = "Workspaces"
OPENING: Final = "Opening"
PEOPLE: Final = "People"
SERVER: Final = "Server"

TABLE: Final[tuple[tuple[str, str, str, str], ...]] = (
    # command, where it is, group, one line
    ("create", "nexus_cli.create:create", WORKSPACES, "Create a workspace and watch it come up."),
    ("ls", "nexus_cli.workspaces:ls", WORKSPACES, "List workspaces, newest first."),
    ("show", "nexus_cli.workspaces:show", WORKSPACES, "Show all there is to know about a workspace."),
    ("start", "nexus_cli.create:start", WORKSPACES, "Start a workspace again, from where it stopped or failed."),
    ("stop", "nexus_cli.workspaces:stop", WORKSPACES, "Stop a workspace; its files stay."),
    ("rm", "nexus_cli.workspaces:rm", WORKSPACES, "Delete a workspace and everything in it."),
    ("ssh", "nexus_cli.ssh:ssh", OPENING, "Open a workspace, or run a command in it."),
    ("ssh-config", "nexus_cli.ssh_config:ssh_config", OPENING, "Print host entries for OpenSSH and editors."),
    ("register", "nexus_cli.users:register", PEOPLE, "Register a GitHub user and the key that opens its workspaces."),
    ("rotate-key", "nexus_cli.users:rotate_key", PEOPLE, "Exchange a user's SSH key, in every running workspace too."),
    ("token new", "nexus_cli.tokens:new", PEOPLE, "Issue an API token; it is shown once."),
    ("token ls", "nexus_cli.tokens:ls", PEOPLE, "List a user's tokens."),
    ("token rm", "nexus_cli.tokens:rm", PEOPLE, "Revoke a token at once."),
    ("serve", "nexus_cli.serve:serve", SERVER, "Run the server until it is told to stop."),
    ("status", "nexus_cli.server:status", SERVER, "Show the server in figures."),
    ("health", "nexus_cli.server:health", SERVER, "Say whether the server is well; needs no token."),
)

_ABOUT = "Development workspaces on LXD, opened over SSH."
_EPILOGUE = "Exit codes, variables and every option: docs/reference/cli.md."


def application() -> App:
    """The command line, with nothing behind it imported yet."""
    app = App(
        name="nexus",
        help=_ABOUT,
        help_epilogue=_EPILOGUE,
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    groups = {
        name: Group(name, sort_key=place) for place, name in enumerate((WORKSPACES, OPENING, PEOPLE, SERVER), start=1)
    }
    token = App(name="token", help="Issue, list and revoke API tokens.", group=groups[PEOPLE])
    app.command(token)
    for name, where, group, line in TABLE:
        parent, _, last = name.rpartition(" ")
        if parent:
            token.command(where, name=last, help=line)
        else:
            app.command(where, name=last, help=line, group=groups[group])
    return app


def command_named(tokens: Sequence[str]) -> str:
    """The command that these tokens begin with, or the empty string."""
    names = {name for name, *_ in TABLE}
    for length in (2, 1):
        if " ".join(tokens[:length]) in names:
            return " ".join(tokens[:length])
    return ""


def _version() -> str:
    from importlib.metadata import version

    return version("nexus-workspaces")
