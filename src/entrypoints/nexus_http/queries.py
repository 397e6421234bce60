"""Reading a request's query string: only parameters that are known, each once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from litestar.connection import ASGIConnection
from msgspec.structs import fields

from nexus_core.errors import InvalidRequest
from nexus_http.validation import misfit, mismatches

T = TypeVar("T", bound=msgspec.Struct)

_MOST: Final = 20
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")
_BOOLEANS: Final = {"true": True, "false": False}


def read_query(request: ASGIConnection[Any, Any, Any, Any], kind: type[T]) -> T:
    """The query string as ``kind``; raises `InvalidRequest` that names every parameter that is wrong.

    For a parameter that may be null, an empty value is null.
    """
    text = request.scope["query_string"]
    if not text:
        return kind()
    values: dict[str, Any] = {}
    twice: dict[str, str] = {}
    types = _parameters(kind)
    for name, value in _pairs(text):
        if name in values:
            twice[f"$.{name}"[:100]] = "given more than once"
        values[name] = _meant(value, types.get(name, frozenset()))
    if not twice:
        try:
            return msgspec.convert(values, kind)
        except msgspec.ValidationError:
            pass
    problems = {path: reason.replace("field", "parameter") for path, reason in mismatches(values, kind)}
    raise misfit(dict(list({**problems, **twice}.items())[:_MOST]))


@cache
def _parameters(kind: type[msgspec.Struct]) -> dict[str, frozenset[Any]]:
    """What each parameter may be, by its name."""
    return {field.encode_name: frozenset(_plain_types(field.type)) for field in fields(kind)}


def _pairs(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST)
    except ValueError as exc:
        raise InvalidRequest(f"The query has more than {_MOST} parameters") from exc


def _meant(value: str, types: frozenset[Any]) -> Any:
    """The value as JSON would have it; a string stays one where nothing else is expected."""
    if value == "" and NoneType in types:
        return None
    if bool in types:
        return _BOOLEANS.get(value, value)
    if int in types and _NUMBER.fullmatch(value):
        return int(value)
    return value


def _plain_types(kind: Any) -> Iterator[Any]:
    """The types that a field's annotation is made of."""
    if get_origin(kind) is Annotated:
        yield from _plain_types(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _plain_types(one)
    else:
        yield kind
