"""Running the `nft` program."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from nexus_nftables.errors import not_started, refused, too_slow, unreadable

# A fixed environment: the programs' own folders, whatever the server's PATH is, and messages in English.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class Nft:
    """The kernel's rules, read as JSON and changed by scripts, each in one transaction.

    Both methods raise `PublishFailed` and nothing else. When one is cancelled or out of time the
    program is killed: its script has then been carried out wholly or not at all.
    """

    def __init__(self, *, command: str, timeout_seconds: float) -> None:
        self._command = command
        self._timeout = timeout_seconds

    async def ruleset(self) -> list[dict[str, Any]]:
        """Every table, chain, rule, set and map on the host, as nft's JSON names them."""
        output = await self._run("-j", "list", "ruleset")
        try:
            objects: list[dict[str, Any]] = json.loads(output)["nftables"]
        except (ValueError, KeyError, TypeError) as exc:
            raise unreadable() from exc
        return objects

    async def apply(self, script: str) -> None:
        """Carry out every line of the script, or none."""
        await self._run("-f", "-", script=script)

    async def _run(self, *arguments: str, script: str = "") -> bytes:
        # From memory that reads as a file: a pipe that is still being fed when the program ends is an
        # error of its own under uvloop.
        with os.fdopen(os.memfd_create("nft"), "w+b") as standard_input:
            standard_input.write(script.encode())
            standard_input.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    self._command,
                    *arguments,
                    stdin=standard_input,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=_ENVIRONMENT,
                )
            except OSError as exc:
                raise not_started(exc) from exc
        try:
            async with asyncio.timeout(self._timeout):
                output, complaint = await process.communicate()
        except TimeoutError as exc:
            raise too_slow(self._timeout) from exc
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise refused(complaint.decode(errors="replace"))
        return output
