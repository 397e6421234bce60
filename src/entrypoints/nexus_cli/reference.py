"""The page docs/reference/cli.md, made from the commands themselves.

``python -m nexus_cli.reference > docs/reference/cli.md`` writes it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, get_args

from cyclopts.argument import Argument

from nexus_cli.commands import GROUPS, TABLE, Command, application
from nexus_cli.exit_codes import MEANINGS

_KINDS: Final[dict[Any, str]] = {str: "TEXT", int: "NUMBER", Path: "PATH"}
_HEAD: Final = """\
# The command line

This page is made from the code (`python -m nexus_cli.reference`). `nexus COMMAND --help` says the same on the
terminal.

A NAME is a workspace's name or its id. Names are looked up among the caller's workspaces; for the
administrator among everyone's, and where two users have one of that name, `--owner` (or `--user`, they are the
same everywhere) says whose is meant.

Answers go to standard output, everything else to standard error. Errors say what happened, why, and how to
mend it, with the request id that the server's log has too. With `--json` the API's own JSON is printed and
nothing else, and errors as the API's error envelope; what is not printable is escaped. Requests that may safely
be repeated are tried three times where the server asks for up to five seconds or the connection breaks.
"""
_CONNECTION: Final = """\
## Connection

Every command but `init`, `schema`, `serve`, `backup`, `restore` and `doctor` has these options:

"""
_VARIABLES: Final = """\

| variable | what it holds |
|---|---|
| `NEXUS_URL` | the server's address, as `--url` |
| `NEXUS_TOKEN` | the token to show; without it, `admin-token` in the state directory is read |
| `NEXUS_STATE_DIR` | the state directory, else `/var/lib/nexus` for root, `~/.local/state/nexus` for others |
| `NEXUS_USER` | the GitHub name for `token` and `rotate-key`, as `--user` |
| `NEXUS_REPO_TOKEN` | a token for `create --repo`, used for https addresses and GitHub's names only |
| `NEXUS_CONFIG` | the settings file of `nexus serve`, as `--config` |
| `NO_COLOR` | no colours, whatever it holds |

Secrets are never taken from the command line, where every user of the machine can read them. Redirects are not
followed and proxies not used. Host keys are kept in `ssh/` in the state directory, a file for each workspace,
named by its id; `~/.ssh` is never written to.
"""
_EXIT_CODES: Final = """\
## Exit codes

| code | meaning |
|---|---|
"""


def page() -> str:
    """The page as Markdown, ending with a newline."""
    app = application()
    connection = [one for one in _arguments(app, "health") if _is_connection(one)]
    parts = [_HEAD, _CONNECTION + _table(connection) + _VARIABLES]
    parts.append(_EXIT_CODES + "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items()))
    for group in GROUPS:
        parts.append(f"## {group}\n")
        parts += [_section(app, command) for command in TABLE if command.group == group]
    return "\n".join(parts)


def _section(app: Any, command: Command) -> str:
    arguments = [one for one in _arguments(app, command.name) if not _is_connection(one)]
    usage = " ".join(["nexus", command.name, *_usage(arguments)])
    rows = f"\n{_table(arguments)}" if arguments else ""
    return f"### nexus {command.name}\n\n```\n{usage}\n```\n\n{cleandoc(command.help)}\n{rows}"


def _usage(arguments: list[Argument]) -> Iterator[str]:
    named = [one for one in arguments if not _is_positional(one)]
    for one in named:
        if one.required:
            yield f"{one.name} {_value(one)}"
    if any(not one.required for one in named):
        yield "[OPTIONS]"
    for one in arguments:
        if _is_positional(one):
            word = one.name if one.required else f"[{one.name}]"
            yield f"[-- {one.name}...]" if _is_rest(one) else word


def _arguments(app: Any, name: str) -> list[Argument]:
    found = app
    for word in name.split():
        found = found[word]
    return [one for one in found.assemble_argument_collection() if one.show]


def _table(arguments: list[Argument]) -> str:
    rows = ["| option | |", "|---|---|"]
    for one in arguments:
        names = [one.name] if _is_positional(one) else list(one.names)
        words = ", ".join(f"`{name}`" for name in names)
        if value := _value(one):
            words += f" {value}"
        rows.append(f"| {words} | {_remarks(one)} |")
    return "\n".join(rows) + "\n"


def _remarks(one: Argument) -> str:
    remarks = [one.parameter.help or ""]
    if one.required:
        remarks.append("Required.")
    if variables := one.parameter.env_var:
        remarks.append("Else " + ", ".join(f"`{variable}`" for variable in variables) + ".")
    default = one.field_info.default
    if isinstance(default, (str, int)) and not isinstance(default, bool):
        remarks.append(f"Default: `{default}`.")
    return " ".join(remarks)


def _value(one: Argument) -> str:
    if _is_positional(one) or one.hint is bool:
        return ""
    kinds = [kind for kind in (one.hint, *get_args(one.hint)) if kind in _KINDS]
    return f"`{_KINDS[kinds[0]]}`" if kinds else "`CHOICE`"


def _is_positional(one: Argument) -> bool:
    return not one.name.startswith("-")


def _is_rest(one: Argument) -> bool:
    return one.field_info.kind is one.field_info.VAR_POSITIONAL


def _is_connection(one: Argument) -> bool:
    groups: Any = one.parameter.group or ()  # a tuple by now, whatever the declaration allows
    return any(getattr(group, "name", group) == "Connection" for group in groups)


if __name__ == "__main__":
    sys.stdout.write(page())
