"""Looking at a service through a connection to it."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from nexus_core.domain.service import CheckType, Health, ServiceSpec
from nexus_core.ports.interior import Interior
from nexus_core.ports.workbench import Look

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_LONGEST_LINE = 4096
_ANY_ANSWER = 5.0
WELL = Look(Health.HEALTHY)


async def look_from_outside(interior: Interior, instance: str, service: ServiceSpec) -> Look | None:
    """What an ``http`` or ``tcp`` check says; None where no connection can be made from here.

    Raises what the instance is asked in vain with if it is that, and not the service, that does not answer.
    """
    check = service.health_check
    try:
        async with asyncio.timeout(check.timeout):
            connection = await interior.connect(instance, service.port or 0)
            if connection is None:
                return None
            reader, writer = connection
            try:
                return await _ask(reader, writer, service) if check.type is CheckType.HTTP else WELL
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        with suppress(TimeoutError):
            await interior.run(instance, ["true"], within=_ANY_ANSWER)
        return Look(Health.TIMEOUT, f"No answer within {check.timeout:g} seconds")
    except ConnectionRefusedError:
        return Look(Health.UNHEALTHY, f"Nothing accepts connections at port {service.port}")
    except (OSError, asyncio.IncompleteReadError, ValueError) as exc:
        return Look(Health.UNHEALTHY, f"The connection to port {service.port} broke: {type(exc).__name__}")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: ServiceSpec) -> Look:
    check = service.health_check
    writer.write(
        f"GET {check.path} HTTP/1.1\r\nHost: localhost:{service.port}\r\nUser-Agent: Nexus\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
    )
    line = await reader.readline()
    answer = _STATUS_LINE.fullmatch(line[:_LONGEST_LINE])
    if answer is None:
        return Look(Health.UNHEALTHY, "It did not answer in HTTP")
    status = int(answer[1])
    if status == check.expected_status or (check.expected_status is None and status < 400):
        return WELL
    return Look(Health.UNHEALTHY, f"GET {check.path} answered {status}")
