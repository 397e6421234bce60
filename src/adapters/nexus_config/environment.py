"""Variables for programs, each value as the text that is written in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexus_config.kinds import Definitions, Kind, Schema
from nexus_config.problems import Place
from nexus_config.tree import Items, Node, Scalar, Table, is_null, told
from nexus_core.domain.service import LONGEST_SCRIPT, VARIABLE, check_env
from nexus_core.errors import InvalidRequest

_EMPTY: Final = 'has no value; write "" for an empty one'


@dataclass(frozen=True, slots=True)
class Environment(Kind[dict[str, str]]):
    """A mapping of names to values, or a list of NAME=value. What a value is, is never told."""

    def read(self, node: Node, at: Place) -> dict[str, str] | None:
        problems = len(at.report.problems)
        env: dict[str, str] = {}
        for place, name, value in self._pairs(node, at):
            if name in env:
                place.refuse(f"{name} is there twice")
            elif value is not None:
                check_variable(name, value, place)
                env[name] = value
        return None if len(at.report.problems) > problems else env

    def _pairs(self, node: Node, at: Place) -> list[tuple[Place, str, str | None]]:
        match node:
            case Table():
                places = [at.below(entry) for entry in node.entries]
                return [
                    (place, entry.key, _text(entry.value, place))
                    for place, entry in zip(places, node.entries, strict=True)
                ]
            case Items():
                return [
                    pair for index, item in enumerate(node.items) for pair in _split(item, at.item(index, item.line))
                ]
            case Scalar():
                at.refuse("must be a mapping of names to values, or a list of NAME=value")
                return []

    def schema(self, definitions: Definitions) -> Schema:
        return {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"pattern": f"^{VARIABLE}$"},
                    "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": LONGEST_SCRIPT},
                },
                {"type": "array", "items": {"type": "string", "pattern": f"^{VARIABLE}="}},
            ]
        }


def _text(node: Node, at: Place) -> str | None:
    if is_null(node):
        at.refuse(_EMPTY)
    elif not isinstance(node, Scalar):
        at.refuse(f"must be a single value, {told(node)}")
    else:
        return node.text
    return None


def _split(node: Node, at: Place) -> list[tuple[Place, str, str]]:
    name, equals, value = node.text.partition("=") if isinstance(node, Scalar) else ("", "", "")
    if not isinstance(node, Scalar):
        at.refuse(f"must be NAME=value, {told(node)}")
    elif not equals:
        at.refuse("must be NAME=value: no variables are handed on from outside")
    else:
        return [(at, name, value)]
    return []


def check_variable(name: str, value: str, at: Place) -> None:
    """Tell ``at`` if no environment can have such a variable."""
    try:
        check_env({name: value}, at="env")
    except InvalidRequest as exc:
        at.refuse(next(iter(exc.details.values())))
