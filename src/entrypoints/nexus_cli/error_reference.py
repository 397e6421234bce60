"""The page docs/reference/errors.md, made from every error class in the program.

``python -m nexus_cli.error_reference > docs/reference/errors.md`` writes it; a test compares.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Final

from nexus_cli import errors as command_errors
from nexus_cli.errors import CannotServe, CommandError, Refused
from nexus_core.errors import NexusError
from nexus_http.problems import CODES, STATUSES

PACKAGES: Final = ("nexus_core", "nexus_wiring", "nexus_http", "nexus_cli")
"""Where errors are defined; adapters raise the core's."""

_HEAD: Final = """\
# Errors

This page is made from the code (`python -m nexus_cli.error_reference`). Every error says what happened, why where
that is known, and what to do next; its code does not change from one release to another.
"""
_ANSWERED: Final = """\
## Answered by the API

In the `error` field of an answer; `nexus` prints them with the request id.
"""
_BENEATH: Final = """\
## Beneath Nexus

In the `error` field of a workspace in status `error`, and in the server's log. Where a request itself fails
for such a reason the API answers 500 `internal_error`, with this code in `details.cause`.
"""
_SERVING: Final = """\
## When the server starts

Printed by `nexus serve`, which then ends. The database's errors above may also appear here.
"""
_CLIENT: Final = """\
## On the command line

Printed by `nexus` before or instead of asking the server, with the exit code that stands behind.
"""
_BRANCHES: Final = """\
## Branches

Never answered themselves: what hangs on one of these is treated alike.
"""


def page() -> str:
    """The page as Markdown, ending with a newline."""
    answered: dict[str, str] = {}
    beneath: dict[str, str] = {}
    serving: dict[str, str] = {}
    branches: dict[str, str] = {}
    public = {code for codes in CODES.values() for code in codes}
    for error in every_error():
        if error.code in public:
            # Of classes that share a code the last one, the most particular, says what it is.
            answered[error.code] = _entry(error.code, f"{_status(error)}. ", error.__doc__, error.remedy)
        elif error.__module__.startswith(("nexus_wiring", "nexus_cli")):
            serving[error.code] = _entry(error.code, "", error.__doc__, error.remedy)
        elif STATUSES.get(error) is not None:
            branches[error.code] = _entry(error.code, f"{_status(error)}. ", error.__doc__, error.remedy)
        else:
            beneath[error.code] = _entry(error.code, "", error.__doc__, error.remedy)
    client = {
        error.code: _entry(error.code, f"Exit code {int(error.exit_code)}. ", error.__doc__, error.remedy)
        for error in _client_errors()
        if error.code not in answered and error.code not in beneath
    }
    sections = ((_ANSWERED, answered), (_BENEATH, beneath), (_SERVING, serving), (_CLIENT, client))
    return "\n".join([_HEAD, *_flat(sections), *_flat([(_BRANCHES, branches)])])


def every_error() -> Iterator[type[NexusError]]:
    """Every error class of the program, each after those it inherits from."""
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    yield NexusError
    yield from _below(NexusError)


def _below(error: type[NexusError]) -> Iterator[type[NexusError]]:
    for child in error.__subclasses__():
        if child.__module__.partition(".")[0] in PACKAGES:
            yield child
            yield from _below(child)


def _client_errors() -> Iterator[type[CommandError]]:
    for error in vars(command_errors).values():
        is_error = isinstance(error, type) and issubclass(error, CommandError)
        if is_error and error not in (CommandError, CannotServe, Refused):
            yield error


def _status(error: type[NexusError]) -> int:
    return next((STATUSES[kind] for kind in error.__mro__ if kind in STATUSES), 500)


def _entry(code: str, prefix: str, words: str | None, fix: str) -> str:
    return f"### `{code}`\n\n{prefix}{cleandoc(words or '').replace('``', '`')}\n\nFix: {fix}\n"


def _flat(sections: Iterable[tuple[str, dict[str, str]]]) -> Iterator[str]:
    for head, entries in sections:
        if entries:
            yield head
            yield from (entries[code] for code in sorted(entries))


if __name__ == "__main__":
    sys.stdout.write(page())
