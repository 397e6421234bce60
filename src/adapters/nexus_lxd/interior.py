"""Inside the containers: commands, files, and ports of their own loopback."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import requests

from nexus_core.errors import InstanceStopped
from nexus_core.ports.interior import Completed, Interior
from nexus_core.ports.provider import InstanceState
from nexus_lxd.commands import Running, running
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal, refusals
from nexus_lxd.files import clear, pull, push, push_file, within_limit
from nexus_lxd.instances import existing, not_running, state_of
from nexus_lxd.namespaces import Namespaces, NotPossible, Paused, Process

_LONGEST_OUTPUT: Final = 256 * 1024
_MARGIN: Final = 10.0  # seconds for which a command may go on, at the most, if nobody is left to end it
_READING: Final = 10.0
_NO_FILE: Final = 3
_KILLED: Final = frozenset({-1, 137, 143})  # also how a command ends with its instance
# Looked at before it is opened: opening a pipe may take for ever.
_PRINT: Final = f"""\
exec 2>/dev/null
[ -e "$1" ] || exit {_NO_FILE}
[ -f "$1" ] && exec head -c "$2" -- "$1"
"""


class LxdInterior(Interior):
    """An `Interior` over LXD's API: commands through `exec`, files through its file server inside.

    A command gets a fixed environment (PATH, HOME, LANG) and no input, and counts as ended when
    nobody holds its outputs any more. It is killed together with all of its process group.

    Connections are made from here in the container's network namespace, if LXD is on this machine
    and this process may enter it (root); that takes no program inside and next to no time.
    """

    def __init__(self, connection: Connection, server_id: str) -> None:
        self._connection = connection
        self._server_id = server_id
        self._namespaces = Namespaces()

    def close(self) -> None:
        """Let go of what is remembered about instances."""
        self._namespaces.close()

    async def run(self, name: str, command: Sequence[str], *, within: float) -> Completed:
        with self._attempting(f"The command {command[0]!r} could not be run in {name}", name):
            await self._check_running(name)
            # Its time begins here: that LXD does not answer is no fault of the command's.
            try:
                async with running(self._connection, name, command, at_most=within + _MARGIN) as begun:
                    async with asyncio.timeout(within):
                        output = await _tail(begun)
                        code = await begun.exit_code()
            except TimeoutError:
                await self._check_running(name)  # or else it is LXD that did not answer, or all of it is paused
                raise
            if code in _KILLED:
                await self._check_running(name)
            return Completed(code, output)

    async def stream(self, name: str, command: Sequence[str]) -> AsyncGenerator[bytes]:
        with self._attempting(f"The command {command[0]!r} could not be run in {name}", name):
            await self._check_running(name)
            async with running(self._connection, name, command) as begun:
                while (piece := await begun.piece()) is not None:
                    yield piece
                await begun.exit_code()

    async def write(self, name: str, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        with refusals(f"The file {path} could not be written in {name}"):
            await self._check(name)
            await clear(self._connection, name, path)
            await push(self._connection, name, path, content, mode=f"{mode:04o}", uid=uid)

    async def upload(self, name: str, path: str, source: str, *, mode: int = 0o644, uid: int = 0) -> None:
        with refusals(f"The file {path} could not be written in {name}"):
            await self._check(name)
            await clear(self._connection, name, path)
            await push_file(self._connection, name, path, source, mode=f"{mode:04o}", uid=uid)

    async def read(self, name: str, path: str, *, limit: int) -> bytes | None:
        with self._attempting(f"The file {path} could not be read in {name}", name):
            if state_of(await self._check(name)) is InstanceState.STOPPED:
                return await pull(self._connection, name, path, limit=limit)
            return await self._print(name, path, limit)

    async def connect(self, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        if not (self._connection.is_local and self._namespaces.possible):
            return None
        try:
            process = self._namespaces.known(name)
            if process is not None:
                try:
                    return await self._connect(process, port)
                except ProcessLookupError:  # it has been stopped, and perhaps started again
                    self._namespaces.forget(name)
            return await self._connect(await self._first_process(name), port)
        except NotPossible:
            return None
        except Paused as error:
            raise InstanceStopped(f"The container {name} does not run", why="It is paused.") from error
        except ProcessLookupError as error:
            raise InstanceStopped(f"The container {name} does not run") from error

    async def _check(self, name: str) -> dict[str, Any]:
        return await existing(self._connection, self._server_id, name)

    async def _check_running(self, name: str) -> dict[str, Any]:
        record = await self._check(name)
        if state_of(record) in (InstanceState.STOPPED, InstanceState.FROZEN):
            raise not_running(name, record)
        return record

    @contextmanager
    def _attempting(self, attempt: str, name: str) -> Generator[None]:
        """As `refusals`, but says so where the instance went down, or was paused, since it was looked at."""
        with refusals(attempt):
            try:
                yield
            except Refusal as refusal:
                if refusal.not_running:
                    raise InstanceStopped(f"The container {name} does not run") from refusal
                raise

    async def _print(self, name: str, path: str, limit: int) -> bytes | None:
        """A file's content as a command inside prints it, which, unlike LXD's file server, can be ended."""
        command = ("sh", "-c", _PRINT, "sh", path, str(limit + 1))
        content = bytearray()
        try:
            async with (
                asyncio.timeout(_READING),
                running(self._connection, name, command, at_most=_READING + _MARGIN) as begun,
            ):
                while (piece := await begun.piece()) is not None:
                    content += piece
                code = await begun.exit_code()
        except TimeoutError as error:
            await self._check_running(name)
            raise Refusal(requests.codes.gateway_timeout, f"it did not come within {_READING:g} seconds") from error
        if code == _NO_FILE:
            return None
        if code != 0:
            raise Refusal(requests.codes.unprocessable, "it is not a file, or cannot be read")
        return within_limit(bytes(content), limit)

    async def _first_process(self, name: str) -> Process:
        with refusals(f"LXD could not say how {name} is"):
            await self._check(name)
            state = await self._connection.get("instances", name, "state")
        if state["pid"] <= 0:
            raise ProcessLookupError
        return await self._namespaces.remember(name, self._connection.project, state["pid"])

    async def _connect(self, process: Process, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await self._connect_to(process, socket.AF_INET, "127.0.0.1", port)
        except ConnectionRefusedError as refusal:
            try:
                return await self._connect_to(process, socket.AF_INET6, "::1", port)
            except ProcessLookupError:
                raise
            except OSError:  # no IPv6, say
                raise refusal from None

    async def _connect_to(
        self, process: Process, family: socket.AddressFamily, address: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        inside = await self._namespaces.socket(process, family)
        try:
            await asyncio.get_running_loop().sock_connect(inside, (address, port))
            return await asyncio.open_connection(sock=inside)
        except BaseException:
            inside.close()
            raise


async def _tail(begun: Running) -> str:
    """What the command writes, as text, from the end if it is long."""
    pieces = deque[bytes]()
    length = 0
    while (piece := await begun.piece()) is not None:
        pieces.append(piece)
        length += len(piece)
        while length - len(pieces[0]) >= _LONGEST_OUTPUT:
            length -= len(pieces.popleft())
    return b"".join(pieces)[-_LONGEST_OUTPUT:].decode(errors="replace")
