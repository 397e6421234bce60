"""Commands that run inside instances, each over four websockets."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from nexus_core.errors import ProviderUnavailable
from nexus_lxd.channels import let_go
from nexus_lxd.connection import Connection, JsonObject
from nexus_lxd.errors import Refusal, refused, unavailable

# What a command finds, whatever the environment of LXD or of this server is.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
# LXD passes a signal to the one process that it started, and waits until nobody holds its outputs any more. So that
# process is coreutils' `timeout`, which kills all that came of the command when its time is over or at an alarm.
_ALARM = json.dumps({"command": "signal", "signal": int(signal.SIGALRM)})
_BACKLOG = 16  # pieces of output that wait to be taken, before the command itself has to
_WAIT = 2  # seconds that LXD is asked to wait for an end at a time
_ATTACHING = 5.0  # LXD itself waits no longer
_AGAIN = 0.1
_YOUTH = 0.7  # seconds after which a command is sure to run, also on a busy machine
_STILL_THERE = 4.0  # seconds between two looks at whether LXD still answers
_ENDING = 4.0  # seconds that a killed command's end is waited for
_SUCCESS = 200
_GONE = "It was restarted in the middle of the work."


@asynccontextmanager
async def running(
    connection: Connection, name: str, command: Sequence[str], *, at_most: float = 0
) -> AsyncGenerator[Running]:
    """Run a command in this block, at the end of which it has ended: it is killed if it has not by itself.

    Raises `Refusal` and `ProviderUnavailable`. Should this process or its way to LXD be lost meanwhile, the command
    ends by itself after ``at_most`` seconds; 0 sets no such limit.
    """
    body = {
        "command": ["timeout", "--signal=KILL", f"{at_most:g}", *command],
        "environment": ENVIRONMENT,
        "wait-for-websocket": True,
        "interactive": False,
    }
    operation = await connection.send("post", "instances", name, "exec", json=body)
    begun = Running(connection, str(operation["id"]))
    try:
        await _whatever_happens(begun.attach(operation["metadata"]["fds"]))
        yield begun
    finally:
        await _whatever_happens(begun.end())


class Running:
    """A command that was begun: what it writes, and how it ends."""

    def __init__(self, connection: Connection, operation: str) -> None:
        self._connection = connection
        self._operation = operation
        self._channels: dict[str, ClientConnection] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._output: asyncio.Queue[bytes | None] = asyncio.Queue(_BACKLOG)
        self._watch: asyncio.Task[None] | None = None
        self._writing = 2
        self._started = False
        self._started_at = 0.0
        self._ended = False
        self._unwanted = False

    async def attach(self, secrets: Mapping[str, str]) -> None:
        """Connect what LXD waits for before it starts the command."""
        try:
            async with asyncio.timeout(_ATTACHING):
                for each in ("control", "1", "2"):
                    await self._open(each, secrets)
                # Standard input comes last, so that the command does not run before it can be controlled.
                self._started = True
                self._started_at = asyncio.get_running_loop().time()
                await self._open("0", secrets)
        except TimeoutError as error:
            raise unavailable("It took the request and did not answer in time.") from error
        except WebSocketException as error:
            await self.exit_code()  # which says why, if LXD knows
            raise unavailable(_GONE) from error
        with suppress(ConnectionClosed):  # a quick one has ended already
            await self._channels["0"].send("")  # the end of the input
        self._watch = asyncio.create_task(self._see_that_lxd_answers())
        self._pumps = [asyncio.create_task(self._pump(self._channels[each])) for each in ("1", "2")]

    async def piece(self) -> bytes | None:
        """What the command writes next to either of its outputs, in the order in which it arrives; None at the end.

        Raises `ProviderUnavailable` when LXD, which keeps its connections also while it hangs, does not answer.
        """
        while self._writing:
            piece = await self._next()
            if piece is not None:
                return piece
            self._writing -= 1
        return None

    async def exit_code(self) -> int:
        """How the command ended, once it has."""
        record: JsonObject = {"status_code": 0}
        while record["status_code"] < _SUCCESS:
            try:
                record = await self._connection.get(
                    "operations", self._operation, "wait", params={"timeout": str(_WAIT)}
                )
            except Refusal as refusal:
                if refusal.missing:
                    raise unavailable(_GONE) from refusal
                raise
        self._ended = True
        code = (record.get("metadata") or {}).get("return")
        if isinstance(code, int):
            return code  # a command that is not there has a code as well, and the operation a failure
        raise refused(int(record["status_code"]), str(record.get("err", "")))

    async def end(self) -> None:
        """Kill the command unless it is known to have ended, and let go of it."""
        self._unwanted = True
        while not self._output.empty():  # so that LXD, which may be waiting to write more, gets to the end
            self._output.get_nowait()
        is_lost = self._watch is not None and self._watch.done()
        if self._started and not self._ended and not is_lost:
            with suppress(ConnectionClosed, Refusal, ProviderUnavailable, TimeoutError):
                async with asyncio.timeout(_ENDING):
                    await self._kill()
        helpers = [*self._pumps, self._watch] if self._watch is not None else self._pumps
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await asyncio.gather(*map(let_go, self._channels.values()))

    async def _next(self) -> bytes | None:
        if self._watch is None or not self._output.empty():
            return await self._output.get()
        piece = asyncio.ensure_future(self._output.get())
        try:
            await asyncio.wait({piece, self._watch}, return_when=asyncio.FIRST_COMPLETED)
            if not piece.done():
                self._watch.result()  # which raises
            return await piece
        finally:
            piece.cancel()

    async def _see_that_lxd_answers(self) -> None:
        while True:
            await asyncio.sleep(_STILL_THERE)
            with suppress(Refusal):
                await self._connection.answers(_STILL_THERE)

    async def _open(self, each: str, secrets: Mapping[str, str]) -> None:
        self._channels[each] = await self._connection.channel(self._operation, secrets[each])

    async def _kill(self) -> None:
        waiting = asyncio.create_task(self.exit_code())
        try:
            # One that has hardly begun: LXD, still on its way into the instance, would not find it, and listen no more.
            youth = self._started_at + _YOUTH - asyncio.get_running_loop().time()
            if youth > 0:
                await asyncio.wait({waiting}, timeout=youth)
            while not waiting.done():
                # Repeated: while LXD is still on its way into the instance, the signal is lost.
                await self._channels["control"].send(_ALARM)
                await asyncio.wait({waiting}, timeout=_AGAIN)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _pump(self, channel: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # how it ended, the operation knows
            async for message in channel:
                if isinstance(message, str):
                    break  # the end of this output
                if not self._unwanted:
                    await self._output.put(message)
        await self._output.put(None)


async def _whatever_happens(work: Coroutine[Any, Any, None]) -> None:
    """Go through with it also when the caller is cancelled, or cancelled once more."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody is left to be told of it
        raise
