"""What the exit code of ``nexus`` says: one table, which docs/reference/cli.md shows."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command ended; ``nexus ssh`` passes on the exit code of ``ssh`` instead."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_AUTHORISED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TRY_LATER = 7
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the server refused the request, the workspace or service ended in `error`, or something broke",
    ExitCode.USAGE: "the command line, a file it names or a setting is wrong; nothing was changed",
    ExitCode.UNREACHABLE: "no Nexus server answers at the URL",
    ExitCode.NOT_AUTHORISED: "there is no token, it is not valid, or it may not do this (401, 403)",
    ExitCode.NOT_FOUND: "there is no such workspace, service, user or token for this caller (404)",
    ExitCode.CONFLICT: "it does not fit the present state (409); the file, address or directory is taken",
    ExitCode.TRY_LATER: "the server cannot do it now and says so (429, 503); `health`: the database is away",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}


def for_status(status: int) -> ExitCode:
    """The exit code for an HTTP status of 400 and above."""
    return {
        401: ExitCode.NOT_AUTHORISED,
        403: ExitCode.NOT_AUTHORISED,
        404: ExitCode.NOT_FOUND,
        409: ExitCode.CONFLICT,
        429: ExitCode.TRY_LATER,
        503: ExitCode.TRY_LATER,
    }.get(status, ExitCode.FAILED)
