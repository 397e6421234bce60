"""Holding what was sent against a Struct, and naming every field that does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

from nexus_core.errors import InvalidRequest

T = TypeVar("T", bound=Struct)

NOT_YET: Final = frozenset({"repo", "setup", "services"})
"""Fields of the API that this version does not have: said so, instead of calling them a typo."""

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
    struct = _struct_in(kind)
    if struct is None or not isinstance(values, dict):
        try:
            msgspec.convert(values, kind)
        except msgspec.ValidationError as exc:
            yield from _located(path, exc, kind).items()
        return
    known = {field.encode_name: field for field in fields(struct)}
    for name in values:
        if name not in known:
            yield f"{path}.{name}"[:_LONGEST], "not available in this version" if name in NOT_YET else "unknown field"
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


def _struct_in(kind: Any) -> type[Struct] | None:
    """The Struct that the type is or may be."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind
    return next(filter(None, map(_struct_in, get_args(kind))), None)


def _is_required(field: FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT
