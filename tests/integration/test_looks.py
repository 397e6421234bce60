"""Looks through real connections, at servers that answer well, badly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from nexus_core.domain.service import CheckType, Health, HealthCheck, ServiceSpec
from nexus_core.errors import InstanceStopped, ProviderUnavailable
from nexus_core.ports.interior import Completed, Interior
from nexus_systemd.looks import look_from_outside

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """As much of an `Interior` as a look needs: connections to this machine's own loopback, and any answer."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault

    async def connect(self, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        return await asyncio.open_connection("127.0.0.1", port)

    async def run(self, name: str, command: Sequence[str], *, within: float) -> Completed:
        if self._fault is not None:
            raise self._fault
        return Completed(0, "")


class Elsewhere:
    """A provider that cannot connect from here."""

    async def connect(self, name: str, port: int) -> None:
        return None


@asynccontextmanager
async def answering(answer: Answering) -> AsyncGenerator[int]:
    """A server on loopback that answers each connection so; its port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def saying(text: bytes) -> Answering:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /health HTTP/1.1\r\nHost: localhost:")
        writer.write(text)
        await writer.drain()
        writer.close()

    return answer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def look(kind: CheckType, port: int, **more: Any) -> tuple[Health, str | None]:
    check = HealthCheck(kind, path="/health", timeout=0.2, **more)
    seen = await look_from_outside(
        cast("Interior", Loopback()), "i", ServiceSpec("one", "x", port=port, health_check=check)
    )
    assert seen is not None
    return seen.health, seen.reason


@pytest.mark.parametrize(
    ("text", "expected", "health"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None, Health.HEALTHY),
        (b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", None, Health.HEALTHY),
        (b"HTTP/1.1 204\r\n\r\n", None, Health.HEALTHY),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", None, Health.UNHEALTHY),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404, Health.HEALTHY),
        (b"HTTP/1.1 200 OK\r\n\r\n", 404, Health.UNHEALTHY),
        (b"SSH-2.0-OpenSSH\r\n", None, Health.UNHEALTHY),
        (b"", None, Health.UNHEALTHY),
        (b"x" * 100_000, None, Health.UNHEALTHY),
    ],
)
async def test_an_answer_in_http_is_judged_by_its_status(text: bytes, expected: int | None, health: Health) -> None:
    async with answering(saying(text)) as port:
        assert (await look(CheckType.HTTP, port, expected_status=expected))[0] is health


async def test_whoever_accepts_is_well_for_tcp_and_late_for_http() -> None:
    async with answering(silent) as port:
        assert await look(CheckType.TCP, port) == (Health.HEALTHY, None)
        assert await look(CheckType.HTTP, port) == (Health.TIMEOUT, "No answer within 0.2 seconds")


@pytest.mark.parametrize("fault", [ProviderUnavailable("It is away"), InstanceStopped("It is paused")])
async def test_where_nothing_inside_answers_the_service_is_not_to_blame(fault: Exception) -> None:
    async with answering(silent) as port:
        check = HealthCheck(CheckType.HTTP, path="/health", timeout=0.2)
        service = ServiceSpec("one", "x", port=port, health_check=check)
        with pytest.raises(type(fault)):
            await look_from_outside(cast("Interior", Loopback(fault)), "i", service)


async def test_one_that_does_not_answer_in_an_instance_that_hardly_does_is_late() -> None:
    async with answering(silent) as port:
        check = HealthCheck(CheckType.HTTP, path="/health", timeout=0.2)
        service = ServiceSpec("one", "x", port=port, health_check=check)
        seen = await look_from_outside(cast("Interior", Loopback(TimeoutError())), "i", service)
        assert seen is not None
        assert seen.health is Health.TIMEOUT


async def test_a_port_where_nobody_listens_is_named() -> None:
    async with answering(silent) as port:
        pass
    assert await look(CheckType.TCP, port) == (Health.UNHEALTHY, f"Nothing accepts connections at port {port}")


async def test_where_no_connection_can_be_made_nothing_is_said() -> None:
    service = ServiceSpec("one", "x", port=80, health_check=HealthCheck(CheckType.TCP))
    assert await look_from_outside(cast("Interior", Elsewhere()), "i", service) is None
