"""What a file says, each value with its line: the same for YAML and JSON, and all that the readers see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class ScalarKind(StrEnum):
    """What a single value is."""

    NULL = "null"
    BOOLEAN = "boolean"
    WHOLE = "whole number"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value; ``text`` is as it is written in the file, without quotes."""

    kind: ScalarKind
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, the line it is on, and its value."""

    key: str
    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the file's order; no key is there twice."""

    entries: tuple[Entry, ...]
    line: int


Node: TypeAlias = Scalar | Items | Table

DEEPEST = 64
"""How many lists and mappings may be inside each other: far more than any of these files has."""

_SURROGATE_OR_NUL = re.compile("[\0\ud800-\udfff]")


def is_null(node: Node) -> bool:
    """Whether the value is null, or nothing at all."""
    return isinstance(node, Scalar) and node.kind is ScalarKind.NULL


def is_sound(text: str) -> bool:
    """Whether a value can be stored and handed to a program: it has no NUL and no half of a character."""
    return _SURROGATE_OR_NUL.search(text) is None


def shortened(text: str, most: int = 60) -> str:
    """The text on one line that can be printed, cut off after ``most`` characters."""
    line = "".join(char if char.isprintable() else " " for char in text[: most + 1])
    return line if len(text) <= most else f"{line[:most]}…"


def told(node: Node) -> str:
    """What the value is, for the end of a sentence that says what it must be."""
    match node:
        case Table():
            return "is a mapping"
        case Items():
            return "is a list"
        case Scalar(kind=ScalarKind.NULL):
            return "is empty"
        case Scalar(kind=ScalarKind.TEXT):
            return f"is '{shortened(node.text, 40)}'"
        case Scalar():
            return f"is the {node.kind} {shortened(node.text, 40)}"
