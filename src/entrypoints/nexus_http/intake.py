"""What a client sends and nobody has read when it is answered."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, cast

from litestar.types import HTTPReceiveMessage, HTTPScope, Receive

MOST: Final = 8 * 1024 * 1024
PATIENCE: Final = 2.0


class Intake:
    """A request's body as it comes in.

    A connection that is closed while the client is still sending is reset, and the client may never
    see why it was refused. So what is left of a body is taken in and thrown away before an answer
    ends: up to 8 MiB and two seconds, for nobody is owed more. ``is_open`` is whether more may come.
    """

    def __init__(self, scope: HTTPScope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        announced = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        # Who expects a word before sending sends nothing without it.
        self.is_open = announced and b"expect" not in headers

    async def receive(self) -> HTTPReceiveMessage:
        """The next piece."""
        message = cast("HTTPReceiveMessage", await self._receive())
        if message["type"] != "http.request" or not message["more_body"]:
            self.is_open = False
        return message

    async def finish(self) -> None:
        """Take in what is left, within bounds."""
        if not self.is_open:
            return
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.is_open and taken < MOST:
                    message = await self.receive()
                    taken += len(message["body"]) if message["type"] == "http.request" else 0
        self.is_open = False
