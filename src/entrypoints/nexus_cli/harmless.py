"""Text of unknown origin for a terminal: colours stay, and everything else that would drive it is shown instead."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from nexus_cli.screen import visible

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_PARTS = re.compile(r"(\x1b\[[0-9;:]*m|\r+\n|\r)")
# What may be the beginning of a colour or of the end of a line, at the end of what came so far.
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\r+)\Z")
_PLAIN: Final = "\x1b[0m"


class Harmless:
    """Makes text safe that comes in pieces, which may be cut off anywhere.

    A carriage return begins a new line, so that no line is written over.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._coloured = False

    def feed(self, text: str) -> str:
        """What may be written by now."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        text, self._rest = text[:cut], text[cut:]
        return "".join(map(self._safe, _PARTS.split(text)))

    def end(self) -> str:
        """What is left of it, and an end to its colours."""
        rest, self._rest = self._rest, ""
        return ("\n" if rest.startswith("\r") else visible(rest)) + (_PLAIN if self._coloured else "")

    def _safe(self, part: str) -> str:
        if part.startswith("\r"):
            return "\n"
        if _COLOUR.fullmatch(part):
            self._coloured = part != _PLAIN
            return part
        return "".join(char if _is_text(char) else visible(char) for char in part)


def _is_text(char: str) -> bool:
    return char.isprintable() or char in "\t\n" or unicodedata.category(char) == "Zs"
