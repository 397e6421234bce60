"""Who reads an answer, as far as its connection can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from litestar.types import Scope

EXTENSION: Final = "nexus.reader"
"""Where a request's scope has its `Reader`, among the extensions."""
PATIENCE: Final = 30.0
"""Seconds that a reader may take nothing of what waits for it, and once more after it was told so."""
_LOOKS: Final = 30  # in that time


class Reader(Protocol):
    """The other end of a connection."""

    def untaken(self) -> int:
        """How many bytes wait here for it to take them."""
        ...

    def dismiss(self) -> None:
        """Let what is said next pass though nothing is taken, and see to it that the connection ends after it."""
        ...


def reader_of(scope: Scope) -> Reader | None:
    """Who reads the answer, where the server below knows."""
    reader: Reader | None = (scope.get("extensions") or {}).get(EXTENSION)  # type: ignore[assignment]  # ours
    return reader


async def until_stuck(reader: Reader, said: Callable[[], int]) -> None:
    """Return once nothing of what waits was taken for `PATIENCE`; ``said`` is how many bytes were said so far."""
    loop = asyncio.get_running_loop()
    taken, since = 0, loop.time()
    while loop.time() - since < PATIENCE:
        await asyncio.sleep(PATIENCE / _LOOKS)
        waiting = reader.untaken()
        if not waiting or said() - waiting > taken:
            taken, since = said() - waiting, loop.time()
