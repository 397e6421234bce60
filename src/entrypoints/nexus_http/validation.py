"""Holding what was sent against a Struct, and naming every field that does not fit."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

from nexus_core.errors import InvalidRequest

T = TypeVar("T", bound=Struct)

_POSITION: Final = re.compile(r"^(?P<reason>.*) - at `(?P<path>\$.*)`$", re.DOTALL)
_MOST: Final = 20
_LONGEST: Final = 200


def decoded(raw: bytes, kind: type[T]) -> T:
    """The JSON as ``kind``, strictly: no number from a string, no field that is not there.

    Raises `InvalidRequest` whose details name every field that is wrong.
    """
    try:
        result: T = _decoder(kind).decode(raw)
        return result
    except msgspec.ValidationError as exc:
        problems = _problems_of(raw, kind) or _located("$", exc)
        raise misfit(problems) from exc
    except msgspec.DecodeError as exc:
        raise InvalidRequest("The body is not JSON", why=f"{exc}.", details={"$": str(exc)}) from exc
    except (UnicodeDecodeError, ValueError, RecursionError) as exc:
        # Text that is not UTF-8, a number of thousands of digits, brackets thousands deep.
        raise InvalidRequest("The body is not JSON that can be read", details={"$": "not readable as JSON"}) from exc


def misfit(problems: dict[str, str]) -> InvalidRequest:
    """The error that lists what is wrong by JSON path."""
    path, reason = next(iter(problems.items()))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidRequest(f"{path}: {reason}{more}", details=problems)


def mismatches(values: object, kind: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """Every JSON path at which the decoded JSON does not fit the type, and why."""
    found = list(itertools.islice(_within(values, kind, path), _MOST))
    if not found and not (isinstance(values, dict) and _choice(kind, _is_struct)):
        try:
            msgspec.convert(values, kind)
        except msgspec.ValidationError as exc:
            found += _located(path, exc, kind).items()
    yield from found


def _within(values: object, kind: Any, path: str) -> Iterator[tuple[str, str]]:
    """The same for what is inside an object or a list that the type allows here."""
    if isinstance(values, list):
        many = _choice(kind, lambda one: get_origin(one) is tuple)
        for index, value in enumerate(cast("list[object]", values) if many else ()):
            yield from mismatches(value, get_args(many)[0], f"{path}[{index}]")
    elif isinstance(values, dict):
        named = cast("dict[str, object]", values)
        struct = _choice(kind, _is_struct)
        if struct is not None:
            yield from _of_struct(named, struct, path)
        elif (mapping := _choice(kind, lambda one: get_origin(one) is dict)) is not None:
            for name, value in named.items():
                yield from mismatches(value, get_args(mapping)[1], f"{path}.{name[:60]}")


def _of_struct(values: dict[str, object], struct: type[Struct], path: str) -> Iterator[tuple[str, str]]:
    known = {field.encode_name: field for field in fields(struct)}
    for name in values:
        if name not in known:
            yield f"{path}.{name}"[:_LONGEST], "unknown field"
    for name, field in known.items():
        if name in values:
            yield from mismatches(values[name], field.type, f"{path}.{name}")
        elif _is_required(field):
            yield f"{path}.{name}", "required"


@cache
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


def _problems_of(raw: bytes, kind: type[Struct]) -> dict[str, str]:
    """A slower second look: msgspec stops at the first field that is wrong."""
    try:
        values = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for path, reason in mismatches(values, kind):
        found[path] = reason
        if len(found) == _MOST:
            break
    return found


def _located(path: str, error: msgspec.ValidationError, kind: Any = None) -> dict[str, str]:
    match = _POSITION.match(str(error))
    reason = match["reason"] if match else str(error)
    if match:
        path += match["path"].removeprefix("$")
    if "matching regex" in reason:
        # A pattern tells a person little; its field's description says the same in words.
        reason = _description(kind) or reason
    return {path: reason[:_LONGEST]}


def _description(kind: Any) -> str | None:
    if get_origin(kind) is Annotated:
        return next((one.description for one in get_args(kind) if isinstance(one, Meta) and one.description), None)
    return next(filter(None, map(_description, get_args(kind))), None)


def _choice(kind: Any, fits: Callable[[Any], bool]) -> Any:
    """The first that fits of the types that a value of this one may have."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        arguments = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
        return next((found for one in arguments if (found := _choice(one, fits)) is not None), None)
    return kind if fits(kind) else None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _is_required(field: FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT
