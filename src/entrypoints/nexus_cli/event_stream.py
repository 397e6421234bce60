"""Events as the server streams them, across connections that break."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from nexus_cli.api import Api
from nexus_cli.errors import Refused, ServerUnreachable

_RETRY: Final = 1.0


class NoStream(Exception):
    """The server has no such stream, or what stands in between lets none through."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event or marker: its kind, and its data with the field ``kind`` in it."""

    kind: str
    data: dict[str, Any]


def told(
    api: Api, *path: str, after: int | None, away: Callable[[float], None], patience: float
) -> Generator[Told | None, None, None]:
    """Events and markers as they come, None for a sign of life, for as long as they are listened to.

    Where a connection ends, the next one goes on with the event after the last. A server that is away is waited
    for, at most for ``patience`` seconds, and ``away`` is told for how long it has been. Raises
    `ServerUnreachable` after that, `Refused` when what is followed is gone, and `NoStream` at the beginning.
    """
    answered = time.monotonic()
    began = opened = False
    while True:
        try:
            with api.events(*path, after=after) as pieces:
                opened = True
                for identifier, one in parsed(pieces):
                    began, answered = True, time.monotonic()
                    after = after if identifier is None else identifier
                    yield one
            if not began:
                raise NoStream
        except ServerUnreachable as lost:
            if opened and not began:
                raise NoStream from lost
            if time.monotonic() - answered > patience:
                raise
            away(time.monotonic() - answered)
        except Refused as refused:
            if refused.code in ("not_found", "method_not_allowed"):
                raise NoStream from refused
            if refused.status not in (429, 503) or time.monotonic() - answered > patience:
                raise
            away(time.monotonic() - answered)
        time.sleep(_RETRY)


def parsed(pieces: Iterable[bytes]) -> Iterator[tuple[int | None, Told | None]]:
    """Each event with its id, as far as it has one; (None, None) for a comment.

    What is not an event of Nexus's raises `ServerUnreachable`.
    """
    identifier, kind, data = "", "", ""
    for line in _lines(pieces):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line.startswith(":"):
            yield None, None
        elif name == "id":
            identifier = value
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
        elif not line and data:
            yield _event(identifier, kind, data)
            identifier, kind, data = "", "", ""


def _event(identifier: str, kind: str, data: str) -> tuple[int | None, Told]:
    try:
        content = json.loads(data)
        number = int(identifier) if identifier else None
    except ValueError as exc:
        raise ServerUnreachable("The server streams what are no events of Nexus's") from exc
    if not isinstance(content, dict):
        raise ServerUnreachable("The server streams what are no events of Nexus's")
    return number, Told(kind, content)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace").removesuffix("\r") for line in lines)
