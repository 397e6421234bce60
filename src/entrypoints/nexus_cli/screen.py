"""Everything that is written for people or programs to read: answers to standard output, the rest to standard error.

Nothing a server sends reaches the terminal as it is: control characters are shown, not obeyed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from nexus_cli.errors import CommandError

STATUS_STYLES = {
    "running": "green",
    "done": "green",
    "healthy": "green",
    "ok": "green",
    "error": "bold red",
    "failed": "bold red",
    "unhealthy": "bold red",
    "unavailable": "bold red",
    "timeout": "bold red",
    "stopped": "dim",
    "unknown": "dim",
    "cancelled": "yellow",
    "degraded": "yellow",
}
OTHER_STATUS_STYLE = "cyan"


def visible(text: object) -> str:
    r"""The text on one line, with every character that is not printable shown as ``\x1b`` or the like."""
    return "".join(char if char.isprintable() else _shown(char) for char in str(text))


def _shown(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode()


def json_text(value: Any) -> str:
    """The value as indented JSON; what is not printable is escaped, so that a terminal may show it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(char if char == "\n" else _json_escape(char) for char in text)


def json_line(value: Any) -> str:
    """The same on one line."""
    return "".join(map(_json_escape, json.dumps(value, ensure_ascii=False)))


def _json_escape(char: str) -> str:
    if char.isprintable():
        return char
    return json.dumps(char)[1:-1] if ord(char) != 0x7F else "\\u007f"


def console(*, error: bool = False) -> Console:
    """A console that neither wraps nor interprets what it is given; colours on a terminal only."""
    from rich.console import Console

    return Console(stderr=error, soft_wrap=True, markup=False, emoji=False, highlight=False)


def answer_json(value: Any) -> None:
    """The API's answer, and nothing else, on standard output."""
    sys.stdout.write(json_text(value) + "\n")


def say(text: str = "", style: str = "") -> None:
    """A line of the answer."""
    console().print(visible(text), style=style)


def note(text: str, style: str = "dim") -> None:
    """A line beside the answer, on standard error."""
    console(error=True).print(visible(text), style=style)


def columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    status_columns: Collection[int] = (),
    *,
    error: bool = False,
) -> None:
    """Rows under a header, aligned by display width and never cut off; with ``error``, on standard error."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *cells, strict=True)]
    out = console(error=error)

    def line(row: Sequence[str], styles: Sequence[str]) -> Text:
        text = Text()
        for cell, width, style in zip(row, widths, styles, strict=True):
            text.append(cell, style=style)
            text.append(" " * (width - cell_len(cell) + 2))
        text.rstrip()
        return text

    out.print(line(header, ["bold"] * len(header)))
    for row in cells:
        styles = [status_style(cell) if index in status_columns else "" for index, cell in enumerate(row)]
        out.print(line(row, styles))


def pairs(values: Mapping[str, str | None]) -> None:
    """What each thing is, one a line; those without a value are left out."""
    from rich.text import Text

    width = max(map(len, values)) + 2
    out = console()
    for label, value in values.items():
        if value:
            style = status_style(value) if label == "status" else ""
            out.print(Text.assemble((label.ljust(width), "bold"), (visible(value), style)))


def status_style(status: str) -> str:
    """The colour a status is shown in."""
    return STATUS_STYLES.get(status, OTHER_STATUS_STYLE)


def report(error: CommandError, *, as_json: bool) -> None:
    """The error on standard error: its envelope, or what, why and fix."""
    envelope = error.envelope()
    if as_json:
        sys.stderr.write(json_text(envelope) + "\n")
        return
    from rich.text import Text

    err = console(error=True)
    first, *more = error.what.splitlines() or [""]
    err.print(Text.assemble(("error: ", "bold red"), visible(first)))
    for line in more:
        err.print(f"  {visible(line)}")
    from nexus_cli.errors import Refused

    if not isinstance(error, Refused):  # the API's message has all three already
        for label, sentence in (("why", error.why), ("fix", error.fix)):
            for index, line in enumerate(sentence.splitlines()):
                err.print(Text.assemble((f"  {label}: " if index == 0 else "       ", "bold"), visible(line)))
    for key, value in error.details.items():
        err.print(f"  {visible(key)}: {visible(value if isinstance(value, str) else json.dumps(value))}")
    request = f", request {envelope['request_id']}" if envelope["request_id"] else ""
    err.print(visible(f"  ({envelope['error']}{request})"), style="dim")
