"""Guessing what somebody meant to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` is nearly, whatever its case and hyphens; None if there is none."""
    by_form = {_form(one): one for one in known}
    found = difflib.get_close_matches(_form(word[:60]), by_form, n=1, cutoff=0.65)
    return by_form[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question to end a message with, or nothing."""
    guess = closest(word, known)
    return "" if guess is None else f"; did you mean {guess}?"


def _form(word: str) -> str:
    return _HUMP.sub("_", word).lower().replace("-", "_")
