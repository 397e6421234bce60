"""The command ``nexus``: reads the command line, runs one command, reports what went wrong."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from nexus_cli.errors import CommandError, WrongUsage
from nexus_cli.exit_codes import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code, as `nexus_cli.exit_codes` explains them."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    try:
        code = _run(tokens)
        sys.stdout.flush()
    except CommandError as error:
        from nexus_cli.screen import report

        report(error, as_json=_wants_json(tokens))
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (`head`, say) has enough. Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code


def _run(tokens: list[str]) -> int:
    from cyclopts import CycloptsError

    from nexus_cli.commands import application

    try:
        outcome = application()(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as exc:
        # Without the list of every command, which is cut off at the terminal's width.
        what = str(exc).partition(" Available commands:")[0].strip().rstrip(".")
        raise WrongUsage(what, fix=_where_to_look(tokens)) from exc
    return ExitCode.OK if outcome is None else int(outcome)


def _where_to_look(tokens: Sequence[str]) -> str:
    from nexus_cli.commands import command_named

    name = command_named(tokens)
    return f"See `nexus {name} --help`." if name else "See `nexus --help`."


def _wants_json(tokens: Sequence[str]) -> bool:
    before_command = tokens[: tokens.index("--")] if "--" in tokens else tokens
    return "--json" in before_command


if __name__ == "__main__":
    sys.exit(main())
