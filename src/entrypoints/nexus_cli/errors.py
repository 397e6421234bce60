"""What can go wrong on this side of the API, and what the API itself answered.

These are no `NexusError`: a client must start fast, and importing the core takes longer than most
commands run. They say the same three things: *what*, *why* and *fix*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus_cli.exit_codes import ExitCode, for_status


class CommandError(Exception):
    """A command that cannot go on; its subclass decides the exit code.

    ``what`` is a clause without a full stop; ``why`` and ``fix`` are sentences.
    """

    code: str = "internal_error"
    exit_code: ExitCode = ExitCode.FAILED
    remedy: str = "Try again."

    def __init__(self, what: str, *, why: str = "", fix: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix or self.remedy
        self.details: dict[str, Any] = dict(details or {})

    def envelope(self) -> dict[str, Any]:
        """The error in the shape that the API gives its own."""
        parts = (self.what, self.why, self.fix)
        message = " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part)
        return {"error": self.code, "message": message, "details": self.details, "request_id": None}


class WrongUsage(CommandError):
    """The command line is wrong."""

    code = "usage"
    exit_code = ExitCode.USAGE
    remedy = "See `nexus --help`."


class FileUnreadable(CommandError):
    """A file the command line names cannot be read, or does not hold what it should."""

    code = "file_unreadable"
    exit_code = ExitCode.USAGE
    remedy = "Check the path and its permissions."


class AmbiguousName(CommandError):
    """Several workspaces that the caller may see have this name."""

    code = "ambiguous_name"
    exit_code = ExitCode.USAGE
    remedy = "Give the id instead of the name, or the owner with --owner."


class ServerUnreachable(CommandError):
    """No Nexus server answers at the URL."""

    code = "server_unreachable"
    exit_code = ExitCode.UNREACHABLE
    remedy = "Is `nexus serve` running? Another address goes into --url or NEXUS_URL."


class NoToken(CommandError):
    """There is no token to show to the server."""

    code = "no_token"
    exit_code = ExitCode.NOT_AUTHORISED
    remedy = "Put a token into NEXUS_TOKEN, or name the server's state directory with --state-dir."


class NoSuchWorkspace(CommandError):
    """No workspace that the caller may see has this name."""

    code = "workspace_not_found"
    exit_code = ExitCode.NOT_FOUND
    remedy = "List what there is with `nexus ls`."


class WorkspaceFailed(CommandError):
    """The workspace did not come up."""

    code = "workspace_failed"
    remedy = "Look at it with `nexus show`."


class NoSuchService(CommandError):
    """The workspace has no service of that name."""

    code = "service_not_found"
    exit_code = ExitCode.NOT_FOUND
    remedy = "List what there is with `nexus services`."


class ServiceFailed(CommandError):
    """The service was restarted and did not come up."""

    code = "service_failed"
    remedy = "Look at what it wrote with `nexus logs`."


class RepositoryUnusable(CommandError):
    """The folder that was named is no git repository that can be sent."""

    code = "repository_unusable"
    exit_code = ExitCode.USAGE
    remedy = "Give a folder with a git repository, or the address of one."


class RepositoryNotSent(CommandError):
    """The workspace was created, but the repository did not get there."""

    code = "repository_not_sent"
    remedy = "Send it with `nexus send`, or delete the workspace with `nexus rm`."


class FileExists(CommandError):
    """The file that was to be written is there already."""

    code = "file_exists"
    exit_code = ExitCode.CONFLICT
    remedy = "Write over it with --force."


class SshUnusable(CommandError):
    """The workspace cannot be opened with ``ssh`` from here."""

    code = "ssh_unusable"
    remedy = "Look at the workspace with `nexus show`."


class CannotServe(CommandError):
    """The server cannot start or ended with an error, or its files cannot be used; carries what the core said."""

    def __init__(self, error: Mapping[str, Any], exit_code: ExitCode) -> None:
        super().__init__(error["what"], why=error["why"], fix=error["fix"], details=error["details"])
        # One class for all of the core's errors: these two are the instance's own.
        self.code = error["code"]
        self.exit_code = exit_code


class Refused(CommandError):
    """The API answered with an error; `envelope` is what it sent."""

    def __init__(self, status: int, envelope: Mapping[str, Any], *, tries: int = 1) -> None:
        super().__init__(str(envelope["message"]), details=envelope["details"])
        self.status = status
        self.tries = tries
        self.code = str(envelope["error"])
        self.exit_code = for_status(status)
        self._envelope = dict(envelope)

    def envelope(self) -> dict[str, Any]:
        return self._envelope
