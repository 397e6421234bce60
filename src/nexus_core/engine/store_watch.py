"""Looks the store through now and then: damage is to be known before somebody needs what is damaged."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from nexus_core.errors import NexusError
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store

_log = logging.getLogger(__name__)

# Seconds between two looks: a hundred times what a look takes, so that it is one in a hundred of a processor's time
# (fifty megabytes take 50 ms), within these bounds.
_SHORTEST: Final = 2.0
_LONGEST: Final = 30.0
_REST: Final = 100


class StoreWatch:
    """Lets the store be verified in a thread every few seconds, a large one every half minute."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known = ""

    async def run(self) -> None:
        """Look until cancelled; a look under way is let end, since nobody may close the store meanwhile."""
        took = 0.0
        while True:
            await self._clock.sleep(min(max(_SHORTEST, _REST * took), _LONGEST))
            began = self._clock.monotonic()
            await self.look()
            took = self._clock.monotonic() - began

    async def look(self) -> None:
        """See whether anything is wrong with the store; what is, is logged once."""
        fault = ""
        work = asyncio.ensure_future(asyncio.to_thread(self._store.verify))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise
        except NexusError as error:
            fault = error.message
        except Exception:
            # A fault here must not end the watch for good.
            _log.exception("the watch of the database met a fault")
            return
        if fault and fault != self._known:
            _log.error("the database is not well: %s", fault)
        elif self._known and not fault:
            _log.warning("the database is well again")
        self._known = fault
