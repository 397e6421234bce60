"""Kinds of lists and mappings, made of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from nexus_config.kinds import Definitions, Kind, Schema
from nexus_config.problems import Place
from nexus_config.spelling import did_you_mean
from nexus_config.tree import Entry, Items, Node, Table, is_null, told

T = TypeVar("T")
U = TypeVar("U")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OneOrMany(Kind[tuple[T, ...]], Generic[T]):
    """A list, or the one thing by itself."""

    kind: Kind[T]
    what: str
    distinct: bool = False

    def read(self, node: Node, at: Place) -> tuple[T, ...] | None:
        if isinstance(node, Table):
            at.refuse(f"must be {self.what} or a list of them, is a mapping")
            return None
        if not isinstance(node, Items):
            only = self.kind.read(node, at)
            return None if only is None else (only,)
        seen: set[T] = set()
        found: list[T] = []
        complete = True
        for index, item in enumerate(node.items):
            place = at.item(index, item.line)
            value = self.kind.read(item, place)
            if value is None:
                complete = False
            elif self.distinct and value in seen:
                place.refuse(f"{value} is there twice")
                complete = False
            else:
                seen.add(value)
                found.append(value)
        return tuple(found) if complete else None

    def schema(self, definitions: Definitions) -> Schema:
        one = self.kind.schema(definitions)
        many: Schema = {"type": "array", "items": one}
        if self.distinct:
            many["uniqueItems"] = True
        return {"anyOf": [one, many]}


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A key of a record: what its value may be, and what an editor says about it."""

    kind: Kind[T]
    description: str
    required: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a record was found to have: values, where each is, and the entries of other keys."""

    at: Place
    values: Mapping[str, Any]
    places: Mapping[str, Place]
    others: tuple[Entry, ...] = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, already read by its kind; ``default`` if it is not there."""
        return self.values.get(key, default)

    def place(self, key: str) -> Place:
        """Where the key is, or where the record is if it has none."""
        return self.places.get(key, self.at)


@dataclass(frozen=True, slots=True)
class Record(Kind[T], Generic[T]):
    """A mapping with known keys, of which ``build`` makes a value.

    A null value is as good as none. A key that is not known is a problem, for which ``foreign`` may have advice,
    unless the record is ``open``. ``rules`` are what JSON Schema says about keys that go together.
    """

    fields: Mapping[str, Field[Any]]
    build: Callable[[Found], T | None]
    name: str = ""
    foreign: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    open: bool = False
    rules: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def read(self, node: Node, at: Place) -> T | None:
        if not isinstance(node, Table):
            at.refuse(f"must be a mapping, {told(node)}")
            return None
        problems = len(at.report.problems)
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        others: list[Entry] = []
        for entry in node.entries:
            place = at.below(entry)
            known = self.fields.get(entry.key)
            if known is None and self.open:
                others.append(entry)
            elif known is None:
                place.refuse(self._unknown(entry.key))
            elif not is_null(entry.value):
                values[entry.key] = known.kind.read(entry.value, place)
                places[entry.key] = place
        for key, one in self.fields.items():
            if one.required and key not in values:
                at.refuse(f"{key} is missing")
        if len(at.report.problems) > problems:
            return None
        return self.build(Found(at, values, places, tuple(others)))

    def schema(self, definitions: Definitions) -> Schema:
        schema: Schema = {
            "type": "object",
            "properties": {key: _described(one, definitions) for key, one in self.fields.items()},
            "additionalProperties": self.open,
        }
        required = [key for key, one in self.fields.items() if one.required]
        if required:
            schema["required"] = required
        schema |= self.rules
        if not self.name:
            return schema
        definitions[self.name] = schema
        return {"$ref": f"#/$defs/{self.name}"}

    def _unknown(self, key: str) -> str:
        if key in self.foreign:
            return f"unknown key; {self.foreign[key]}"
        guess = did_you_mean(key, self.fields)
        return f"unknown key{guess}" if guess else f"unknown key; there are {', '.join(self.fields)}"


def instead(word: str, *others: str) -> dict[str, str]:
    """Advice for keys that are called ``word`` here."""
    return dict.fromkeys(others, f"write {word}")


def because(reason: str, *keys: str) -> dict[str, str]:
    """Advice for keys that there is nothing like here."""
    return dict.fromkeys(keys, reason)


def _described(one: Field[Any], definitions: Definitions) -> Schema:
    schema = one.kind.schema(definitions)
    if not one.required:
        schema = _or_null(schema)
    described: Schema = {"description": one.description, **schema}
    if one.default is not None:
        described["default"] = one.default
    return described


def _or_null(schema: Schema) -> Schema:
    """What ``schema`` takes, and null, which is as good as leaving the key out."""
    match schema:
        case {"enum": [*values]}:
            return {**schema, "enum": [*values, None]}
        case {"anyOf": [*choices]}:
            return {**schema, "anyOf": [*choices, {"type": "null"}]}
        case {"type": str(name)}:
            return {**schema, "type": [name, "null"]}
        case {"type": [*names]}:
            return {**schema, "type": [*names, "null"]}
        case _:
            return {"anyOf": [schema, {"type": "null"}]}
