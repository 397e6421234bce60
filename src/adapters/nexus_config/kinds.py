"""Kinds of single values: each reads what a file has, and describes itself to editors as JSON Schema."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from nexus_config.problems import Place
from nexus_config.spelling import did_you_mean
from nexus_config.tree import Node, Scalar, ScalarKind, told
from nexus_core.domain.resources import MAX_SIZE, MIB, SIZE, size_in_bytes
from nexus_core.domain.service import LONGEST_SCRIPT, check_script
from nexus_core.errors import InvalidRequest

Schema: TypeAlias = dict[str, Any]
Definitions: TypeAlias = dict[str, Schema]
T_co = TypeVar("T_co", covariant=True)

_DIGITS: Final = "(?:0|[1-9][0-9]{0,14})"
NOT_BLANK: Final = r"[^ \t\r\n]"  # not \S: JavaScript takes a byte order mark for a blank, Python does not
_TRUE: Final = ("true", "yes", "on")
_FALSE: Final = ("false", "no", "off")


class Kind(ABC, Generic[T_co]):
    """What a value may be."""

    @abstractmethod
    def read(self, node: Node, at: Place) -> T_co | None:
        """The value; None if it has to be corrected, which ``at`` is told. ``node`` is not null."""

    def schema(self, definitions: Definitions) -> Schema:
        """What is taken, as JSON Schema; parts with a name of their own are put into ``definitions``.

        By itself a kind tells editors nothing, that is, that anything is taken.
        """
        return {}


@dataclass(frozen=True, slots=True)
class Text(Kind[str]):
    """Text, of a form if there is a ``pattern``, which ``form`` says in words.

    With ``any_scalar``, a number or a boolean is taken as the text that is written in the file.
    """

    pattern: str | None = None
    form: str = "text"
    any_scalar: bool = False
    most: int = 1000

    def read(self, node: Node, at: Place) -> str | None:
        if not isinstance(node, Scalar) or (node.kind is not ScalarKind.TEXT and not self.any_scalar):
            quoted = "; put it in quotes" if isinstance(node, Scalar) else ""
            at.refuse(f"must be {self.form}, {told(node)}{quoted}")
        elif len(node.text) > self.most:
            at.refuse(f"must have at most {self.most} characters")
        elif self.pattern is not None and not re.fullmatch(self.pattern, node.text):
            at.refuse(f"must be {self.form}, {told(node)}")
        else:
            return node.text
        return None

    def schema(self, definitions: Definitions) -> Schema:
        if self.any_scalar:
            return {"type": ["string", "number", "boolean"]}
        schema: Schema = {"type": "string", "maxLength": self.most}
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern})$"
        return schema


@dataclass(frozen=True, slots=True)
class Script(Kind[str]):
    """Any shell text, on one line or many."""

    def read(self, node: Node, at: Place) -> str | None:
        if not isinstance(node, Scalar):
            at.refuse(f"must be shell text, {told(node)}; write it as one shell line")
        elif node.kind is not ScalarKind.TEXT:
            at.refuse(f"must be shell text, {told(node)}; put it in quotes")
        else:
            try:
                return check_script(node.text, at="script")
            except InvalidRequest as exc:
                at.refuse(exc.details["script"])
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "string", "pattern": NOT_BLANK, "maxLength": LONGEST_SCRIPT}


@dataclass(frozen=True, slots=True)
class Choice(Kind[str]):
    """One of a few words."""

    words: Sequence[str]

    def read(self, node: Node, at: Place) -> str | None:
        if isinstance(node, Scalar) and node.text in self.words:
            return node.text
        meant = did_you_mean(node.text, self.words) if isinstance(node, Scalar) else ""
        at.refuse(f"must be one of {', '.join(self.words)}, {told(node)}{meant}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Whole(Kind[int]):
    """A whole number within bounds, also as digits in quotes."""

    least: int
    most: int

    def read(self, node: Node, at: Place) -> int | None:
        if isinstance(node, Scalar) and re.fullmatch(_DIGITS, node.text) and self.least <= int(node.text) <= self.most:
            return int(node.text)
        at.refuse(f"must be a whole number between {self.least} and {self.most}, {told(node)}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {
            "anyOf": [
                {"type": "integer", "minimum": self.least, "maximum": self.most},
                {"type": "string", "pattern": f"^{_DIGITS}$"},
            ]
        }


@dataclass(frozen=True, slots=True)
class Boolean(Kind[bool]):
    """True or false, in any of the spellings YAML has had for them."""

    def read(self, node: Node, at: Place) -> bool | None:
        if isinstance(node, Scalar) and node.kind in (ScalarKind.BOOLEAN, ScalarKind.TEXT):
            word = node.text.lower() if node.kind is ScalarKind.BOOLEAN else node.text
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
        at.refuse(f"must be true or false, {told(node)}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"enum": [True, False, *_TRUE, *_FALSE]}


@dataclass(frozen=True, slots=True)
class Size(Kind[str]):
    """An amount of memory or disk, with its unit."""

    least: int

    def read(self, node: Node, at: Place) -> str | None:
        if not isinstance(node, Scalar) or not re.fullmatch(SIZE, node.text):
            at.refuse(f"must be a size such as 4GB or 4GiB, {told(node)}{_meant_size(node)}")
        elif not self.least <= size_in_bytes(node.text) <= MAX_SIZE:
            at.refuse(f"must be between {self.least // MIB}MiB and 1024TiB, {told(node)}")
        else:
            return node.text
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "string", "pattern": f"^{SIZE}$", "examples": ["4GB", "4GiB"]}


def _meant_size(node: Node) -> str:
    text = node.text if isinstance(node, Scalar) else ""
    found = re.fullmatch(r"([1-9][0-9]{0,11}) ?([kmgt])(i?)b?", text, re.IGNORECASE | re.ASCII)
    return "" if found is None else f"; did you mean {found[1]}{found[2].upper()}{found[3].lower()}B?"


@dataclass(frozen=True, slots=True)
class Constant(Kind[str]):
    """A value that has to be what it is, in whatever way YAML lets one write it."""

    spellings: Mapping[str, Any]  # each text that is taken, and the value a parser makes of it
    reason: str

    def read(self, node: Node, at: Place) -> str | None:
        if isinstance(node, Scalar) and node.text in self.spellings:
            return node.text
        at.refuse(f"must be {next(iter(self.spellings))}, {told(node)}; {self.reason}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {"enum": [*self.spellings, *dict.fromkeys(self.spellings.values())]}


@dataclass(frozen=True, slots=True)
class Anything(Kind[Node]):
    """Any value at all, which is handed on as it is."""

    def read(self, node: Node, at: Place) -> Node:
        return node
