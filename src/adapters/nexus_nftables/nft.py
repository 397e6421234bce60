"""Running the `nft` program."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
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
        """Every table, chain, rule, set and map that IPv4 meets on its way, as nft's JSON names them.

        What else there is would only be read in vain: LXD writes a dozen rules about each of its network cards.
        """
        output = await self._run("-j", "list ruleset ip; list ruleset inet")
        try:
            objects: list[dict[str, Any]] = [
                one for listed in output.splitlines() for one in json.loads(listed)["nftables"]
            ]
        except (ValueError, KeyError, TypeError) as exc:
            raise unreadable() from exc
        return objects

    async def apply(self, script: str) -> None:
        """Carry out every line of the script, or none."""
        await self._run("-f", "-", script=script)

    async def _run(self, *arguments: str, script: str = "") -> bytes:
        # In a thread, which starts it by vfork: the event loop would fork, and stand still until the copy is made
        # and has got its turn, a tenth of a second on a machine that is busy.
        started: list[subprocess.Popen[bytes]] = []
        ending = asyncio.ensure_future(asyncio.to_thread(self._call, arguments, script.encode(), started))
        try:
            return await asyncio.shield(ending)
        except asyncio.CancelledError:
            for process in started:
                process.kill()
            await asyncio.wait({ending})
            raise

    def _call(self, arguments: Sequence[str], script: bytes, started: list[subprocess.Popen[bytes]]) -> bytes:
        """What the program writes; ``started`` is given the process, for whoever wants it to end."""
        try:
            process = subprocess.Popen(  # noqa: S603  # our own words; what comes from outside is checked where scripts are made
                [self._command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
            )
        except OSError as exc:
            raise not_started(exc) from exc
        with process:
            started.append(process)
            try:
                output, complaint = process.communicate(script, timeout=self._timeout)
            except subprocess.TimeoutExpired as exc:
                process.kill()
                raise too_slow(self._timeout) from exc
        if process.returncode != 0:
            raise refused(complaint.decode(errors="replace"))
        return output
