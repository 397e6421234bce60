"""Making a workspace's TCP port reachable at a port of the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """Where a published port leads: an instance's own address and a port there.

    ``on`` is the one address of the host at which it is published; None stands for every one.
    """

    address: str
    port: int
    on: str | None = None


class PortPublisher(ABC):
    """Publishes host ports, on loopback as well as on the host's own addresses, or on one of these alone.

    What is published outlives this process. Another server's publications on the same host are
    neither changed nor withdrawn.
    """

    @abstractmethod
    async def publish(self, port: int, target: Target) -> None:
        """Lead ``port`` to ``target`` from now on, in place of where it led before; idempotent.

        Raises `HostPortTaken` if another program listens on the port or another server has
        published it, and `PublishFailed` if the host refuses. Then nothing has changed.
        """

    @abstractmethod
    async def withdraw(self, port: int) -> None:
        """Let no new connection in at ``port``; a port that is not published is left as it is.

        Raises `PublishFailed` if the host refuses.
        """

    @abstractmethod
    async def restore(self, ports: Mapping[int, Target]) -> None:
        """Publish exactly these and withdraw every other of this server's, in one step.

        Made for the start of the server: connections through ports that stay are not disturbed.
        """

    @abstractmethod
    async def published(self) -> dict[int, Target]:
        """What this server publishes at present, as the host reports it."""

    @abstractmethod
    async def occupied(self) -> frozenset[int]:
        """Host ports that other programs listen on or other servers have published.

        May be some seconds old: `publish` is what decides.
        """
