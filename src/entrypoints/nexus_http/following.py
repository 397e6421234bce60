"""Answers that go on while there is something to tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final

from litestar.types import HTTPResponseBodyEvent, Receive, Scope, Send

from nexus_core.errors import NexusError
from nexus_http.readers import reader_of, until_stuck
from nexus_http.redaction import without_paths, without_secrets

BRIEF: Final = 0.5
"""Seconds that a first piece, or the reason why there is none, is waited for before the answer begins."""
TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)


class Following:
    """Pieces as they come, until they end, the client hangs up, or the server is told to stop.

    An application of its own, for Litestar's streams are cancelled over and over while they clean up, and a
    piece that is being waited for has to be given up in peace.

    A client that takes nothing is waited for. With a ``farewell`` it is not for ever: after half a minute the piece
    that it keeps waiting is given up, the farewell is said in its place, and the connection ends.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        stopping: asyncio.Event,
        *,
        headers: Sequence[tuple[bytes, bytes]] = TEXT,
        farewell: Callable[[], bytes] | None = None,
    ) -> None:
        self._pieces = pieces
        self._stopping = stopping
        self._headers = headers
        self._farewell = farewell
        self._said = 0
        self._next: asyncio.Task[bytes | None] | None = None

    async def begin(self) -> None:
        """Wait a moment for the first piece; raises what it raises, and all is closed then."""
        self._next = asyncio.create_task(_next_of(self._pieces), name="first-piece")
        try:
            await asyncio.wait({self._next}, timeout=BRIEF)
            failure = self._next.exception() if self._next.done() else None
            if failure is not None:
                raise failure
        except BaseException:
            await self._close()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        ends = {
            asyncio.create_task(self._stopping.wait(), name="server-stops"),
            asyncio.create_task(_hung_up(receive), name="client-hangs-up"),
        }
        reader = None if self._farewell is None else reader_of(scope)
        stuck = None if reader is None else asyncio.create_task(until_stuck(reader, lambda: self._said), name="stuck")
        if stuck is not None:
            ends.add(stuck)
        last = b""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            while (piece := await self._piece(ends)) is not None:
                await self._say(send, piece, stuck)
            if self._farewell is not None and reader is not None and stuck is not None and stuck.done():
                reader.dismiss()
                last = self._farewell()
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            for end in ends:
                end.cancel()
            await self._close()

    async def _say(self, send: Send, piece: bytes, stuck: asyncio.Task[None] | None) -> None:
        """Hand the piece on once there is room for it; it is given up if the client takes nothing for too long."""
        message: HTTPResponseBodyEvent = {"type": "http.response.body", "body": piece, "more_body": True}
        if stuck is None:
            await send(message)
            return
        saying = asyncio.ensure_future(send(message))
        try:
            await asyncio.wait({saying, stuck}, return_when=asyncio.FIRST_COMPLETED)
            if saying.done():
                saying.result()
                self._said += len(piece)
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    async def _piece(self, ends: set[asyncio.Task[Any]]) -> bytes | None:
        """The next piece, or None once there is to be none."""
        # Looked at first: a source that is asked for the next piece takes the one before for sent, and
        # pieces that are always there at once would otherwise never leave room for an end.
        if any(end.done() for end in ends):
            return None
        if self._next is None:
            self._next = asyncio.create_task(_next_of(self._pieces), name="next-piece")
        await asyncio.wait({self._next, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if not self._next.done():
            return None
        done, self._next = self._next, None
        try:
            return done.result()
        except NexusError as error:
            return f"\n{without_paths(without_secrets(str(error)))}\n".encode()

    async def _close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._pieces.aclose()


async def _next_of(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
