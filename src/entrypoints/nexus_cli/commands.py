"""Every command by name; the module behind one is imported when it is run or its help is shown."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Final, NamedTuple

from cyclopts import App, Group

WORKSPACES: Final = "Workspaces"
SERVICES: Final = "Services"
PROJECT: Final = "Project"
OPENING: Final = "Opening"
PEOPLE: Final = "People"
SERVER: Final = "Server"
GROUPS: Final = (WORKSPACES, SERVICES, PROJECT, OPENING, PEOPLE, SERVER)


class Command(NamedTuple):
    """One command: its words, where its function is, its group, and its help, the first line of which is listed."""

    name: str
    where: str
    group: str
    help: str


TABLE: Final = (
    Command(
        "create",
        "nexus_cli.create:create",
        WORKSPACES,
        """Create a workspace and watch it come up.

        The steps go to standard error, and so do the services and their addresses in the end; the one
        line on standard output is the ssh command that opens it. Interrupting this command does not stop
        the creation.

        `--repo .` sends the repository of a folder: the branch that is checked out, or the one named by
        `--branch`, and the tags, as a git bundle; what is not committed stays here. An address, or
        OWNER/NAME on GitHub, is cloned by the server; a private one is opened with `--token-file` (https)
        or `--deploy-key` (ssh). Set-up and services are those that `.nexus/config.yaml` in the repository
        describes; `nexus init` writes one.
        """,
    ),
    Command(
        "send",
        "nexus_cli.create:send",
        WORKSPACES,
        """Send a repository again, to a workspace that was created from a folder.

        For when `nexus create NAME --repo FOLDER` made the workspace and the repository did not get
        there.
        """,
    ),
    Command("ls", "nexus_cli.workspaces:ls", WORKSPACES, "List workspaces, newest first."),
    Command("show", "nexus_cli.workspaces:show", WORKSPACES, "Show all there is to know about a workspace."),
    Command(
        "start",
        "nexus_cli.create:start",
        WORKSPACES,
        """Start a workspace again, from where it was stopped or failed.

        It keeps its files, its host key and its port.
        """,
    ),
    Command(
        "events",
        "nexus_cli.events:events",
        WORKSPACES,
        """Print what happens to workspaces, a line for each event, until interrupted.

        One workspace is followed from the beginning of its present or last operation until it is deleted;
        all are followed from now on. With `--json` each line is the event's JSON. A server that is
        restarted is waited for, and nothing is left out or printed twice.
        """,
    ),
    Command("stop", "nexus_cli.workspaces:stop", WORKSPACES, "Stop a workspace; its files stay."),
    Command("rm", "nexus_cli.workspaces:rm", WORKSPACES, "Delete a workspace and everything in it."),
    Command("services", "nexus_cli.services:services", SERVICES, "List a workspace's services and how they fare."),
    Command(
        "logs",
        "nexus_cli.output:logs",
        SERVICES,
        """Print what a service wrote, or cloning and set-up.

        On a terminal, colours are shown and other control characters are made visible; elsewhere it is
        passed on byte for byte.
        """,
    ),
    Command(
        "forward",
        "nexus_cli.forward:forward",
        SERVICES,
        """Forward a port of the server to a service, or list or remove forwards.

        Services that are exposed are forwarded when they start; this is for the others. What is
        forwarded already stays, and its address is printed.
        """,
    ),
    Command(
        "restart",
        "nexus_cli.services:restart",
        SERVICES,
        "Restart a service; what depends on it goes on.",
    ),
    Command(
        "init",
        "nexus_cli.init:init",
        PROJECT,
        """Write .nexus/config.yaml for a repository: its set-up and its services.

        Node.js, Python (Django, Flask, FastAPI), Go, Rails and plain pages are recognised, also next to
        each other in folders of the repository; what is not known is left as an example. Asks no server.
        """,
    ),
    Command(
        "schema",
        "nexus_cli.schema:schema",
        PROJECT,
        """Print the JSON Schema of .nexus/config.yaml, for editors. Asks no server.""",
    ),
    Command(
        "ssh",
        "nexus_cli.ssh:ssh",
        OPENING,
        """Open a workspace, or run a command in it.

        `nexus ssh web` opens a shell, `nexus ssh web -- make test` runs a program. Several words
        arrive as the program and its arguments, untouched; a single one is a line for the shell, as in
        `nexus ssh web -- 'cd src && make'`. The host key is known beforehand and checked. Your own
        ssh configuration holds (identities, agent, jump hosts); ~/.ssh is never written to. The exit
        code is that of ssh.
        """,
    ),
    Command(
        "ssh-config",
        "nexus_cli.ssh_config:ssh_config",
        OPENING,
        """Print host entries for OpenSSH and editors.

        `nexus ssh-config > ~/.ssh/nexus.conf` once, and `Include nexus.conf` at the top of
        ~/.ssh/config: then `ssh web.nexus`, rsync and editors open the workspace `web`, with its
        host key known. Names that two owners use are written OWNER.NAME.nexus. Only the state
        directory is written to.
        """,
    ),
    Command(
        "register",
        "nexus_cli.users:register",
        PEOPLE,
        "Register a GitHub user and the key that opens its workspaces.",
    ),
    Command(
        "rotate-key",
        "nexus_cli.users:rotate_key",
        PEOPLE,
        """Exchange a user's SSH key, in every running workspace too.

        When it returns, the old key opens none of them; stopped ones get the new key when they start.
        """,
    ),
    Command("token new", "nexus_cli.tokens:new", PEOPLE, "Issue an API token; it is shown once."),
    Command("token ls", "nexus_cli.tokens:ls", PEOPLE, "List a user's tokens."),
    Command("token rm", "nexus_cli.tokens:rm", PEOPLE, "Revoke a token at once."),
    Command(
        "serve",
        "nexus_cli.serve:serve",
        SERVER,
        """Run the server until it is told to stop (Ctrl-C or SIGTERM).

        Settings come from the file, then from NEXUS_ variables, then from these options: the last one
        wins. Requests under way are answered before it ends; workspaces run on without it.
        """,
    ),
    Command(
        "backup",
        "nexus_cli.backup:backup",
        SERVER,
        """Copy the database to a file, whole and verified, while the server runs or not.

        On the server's machine and as its user. The file is for its owner alone. The key to the secrets in
        it, `database-key`, is left out on purpose: keep a copy of that elsewhere. Nor is in it what is inside
        the workspaces.
        """,
    ),
    Command(
        "restore",
        "nexus_cli.backup:restore",
        SERVER,
        """Put a backup in the database's place, verified and in one step; the server must be stopped.

        What was there is kept beside it. The `database-key` that belongs to the backup must be in the state
        directory. If anything is wrong, nothing is changed.
        """,
    ),
    Command(
        "doctor",
        "nexus_cli.doctor:doctor",
        SERVER,
        """Examine everything that a server stands on, and say how to mend what is not well.

        Looks at the server, the host, LXD, nftables and the database, and compares what is there with what
        the database says: containers, ports and work under way. Reads only, with the server running or not,
        on the server's machine; not everything can be looked at without root.

        `--fix` mends what is safe, and touches nothing but the server's own: kernel limits (as root), file
        permissions, the bridge, the server's ports while it does not run, and what was left behind. The exit
        code is 0 when nothing failed; warnings do not count.
        """,
    ),
    Command("status", "nexus_cli.server:status", SERVER, "Show the server in figures."),
    Command(
        "health",
        "nexus_cli.server:health",
        SERVER,
        """Say whether the server is well; needs no token.

        Ends with 0 if it is, also where a node is away (degraded), and with 7 if the database is.
        """,
    ),
)

_ABOUT = "Development workspaces on LXD, opened over SSH."
_EPILOGUE = "Exit codes and variables: docs/reference/cli.md."


def application() -> App:
    """The command line, with nothing behind it imported yet."""
    app = App(
        name="nexus",
        help=_ABOUT,
        help_epilogue=_EPILOGUE,
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    groups = {name: Group(name, sort_key=place) for place, name in enumerate(GROUPS, start=1)}
    token = App(name="token", help="Issue, list and revoke API tokens.", group=groups[PEOPLE])
    app.command(token)
    for place, command in enumerate(TABLE):
        parent, _, last = command.name.rpartition(" ")
        text = cleandoc(command.help)
        if parent:
            token.command(command.where, name=last, help=text, sort_key=place)
        else:
            app.command(command.where, name=last, help=text, group=groups[command.group], sort_key=place)
    return app


def command_named(tokens: Sequence[str]) -> str:
    """The command that these tokens begin with, or the empty string."""
    names = {command.name for command in TABLE}
    for length in (2, 1):
        if " ".join(tokens[:length]) in names:
            return " ".join(tokens[:length])
    return ""


def _version() -> str:
    from importlib.metadata import version

    return version("nexus-workspaces")
