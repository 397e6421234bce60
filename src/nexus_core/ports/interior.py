"""What can be done inside one instance, in a provider's own way."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended; ``output`` is what it wrote to both of its outputs, from the end if it was long."""

    exit_code: int
    output: str


class Interior(ABC):
    """Runs commands and moves files inside instances that carry this server's mark.

    Commands are given as lists and meet no shell; they run as root inside, never on the host. Every method may
    raise `ProviderUnavailable` (nothing answers) and `ProviderFailed`, `InstanceMissing` where there is no such
    instance, and `InstanceStopped` where it does not run or is paused, unless its files can be reached all the
    same. A command whose caller is cancelled is ended, within ten seconds.
    """

    @abstractmethod
    async def run(self, name: str, command: Sequence[str], *, within: float) -> Completed:
        """Run a command to its end; raises `TimeoutError` after ``within`` seconds, when it has been killed."""

    @abstractmethod
    def stream(self, name: str, command: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """What a command writes, as it comes, to the command's end.

        Closing the iterator (``aclose``) ends the command. How it ended is not told.
        """

    @abstractmethod
    async def write(self, name: str, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        """Put a file in place, the instance running or not; its folder exists."""

    @abstractmethod
    async def upload(self, name: str, path: str, source: str, *, mode: int = 0o644, uid: int = 0) -> None:
        """Put the host's file ``source`` in place, however large it is; its folder exists."""

    @abstractmethod
    async def read(self, name: str, path: str, *, limit: int) -> bytes | None:
        """The file's content, the instance running or not; None if there is no such file.

        Raises `ProviderFailed` if it is longer than ``limit`` bytes or is not a file.
        """

    @abstractmethod
    async def connect(self, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to a TCP port of the instance's own loopback, IPv4 before IPv6.

        Raises `OSError` as a program inside would meet it (refused, say). None where the provider cannot do
        this, because it runs elsewhere: then a command inside has to.
        """
