"""Looking after the services of running workspaces, one look every interval."""

from __future__ import annotations

import asyncio
import logging
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.service import Health, Service, ServiceSpec, ServiceStatus
from nexus_core.engine.deadline import within
from nexus_core.engine.journal import save_service
from nexus_core.errors import NexusError
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Look, Workbench

_log = logging.getLogger(__name__)

_ROUND = 60.0  # how often it is seen anew which services there are; `nudge` tells when there may be others
_OFTEN = 1.0  # how often a starting service is looked at, at least
# How much longer than its own timeout a look may take before it counts as unanswered. The workbench keeps to that
# timeout by itself; where it takes longer, it is finding out whether it is the provider that does not answer.
_LATE = 20.0
_AGAIN = 5.0  # how soon what the database did not answer is asked again
# Where another service failed, one that waits for its turn still comes up.
_LOOKED_AFTER = frozenset(ServiceStatus) - {ServiceStatus.STOPPED}
_SAID = frozenset({ServiceStatus.PENDING, ServiceStatus.ERROR})


@dataclass(frozen=True, slots=True)
class _Charge:
    """A service that is looked after; another specification, or being started again, makes it another charge."""

    workspace_id: str
    container_id: str
    spec: ServiceSpec
    is_starting: bool

    def __hash__(self) -> int:
        return hash((self.workspace_id, self.spec.name))


class HealthMonitor:
    """Keeps the status and health of services true while their workspace runs.

    What changes is stored; the time of the last look is kept here, so that a healthy service costs no write.
    A look that could not be done, because the provider does not answer, changes nothing.
    """

    def __init__(self, *, store: Store, workbench: Workbench, clock: Clock, policy: Policy) -> None:
        self._store = store
        self._workbench = workbench
        self._clock = clock
        self._places = asyncio.Semaphore(policy.looks_at_once)
        self._nudged = asyncio.Event()
        self._watches: dict[_Charge, asyncio.Task[None]] = {}
        self._last: dict[tuple[str, str], datetime] = {}

    def last_look(self, service: Service) -> datetime | None:
        """When the service was last looked at, by the records or since."""
        seen = self._last.get((service.workspace_id, service.name))
        return max(filter(None, (seen, service.last_check)), default=None)

    def nudge(self) -> None:
        """See soon which services there are: something was started, stopped or removed."""
        self._nudged.set()

    async def run(self) -> None:
        """Look after every service there is, until cancelled."""
        try:
            while True:
                pause = _ROUND
                try:
                    self._adjust()
                except NexusError as error:
                    pause = _AGAIN
                    _log.warning("cannot see which services there are: %s", error, extra={"code": error.code})
                with suppress(TimeoutError):
                    await within(self._clock, pause, _awaited(self._nudged))
                self._nudged.clear()
        finally:
            for watch in self._watches.values():
                watch.cancel()
            await asyncio.gather(*self._watches.values(), return_exceptions=True)
            self._watches.clear()

    def _adjust(self) -> None:
        """Watch what has come, and no longer what has gone."""
        charges: set[_Charge] = set()
        with self._store.snapshot() as records:
            for workspace in records.workspaces.with_status({Status.RUNNING, Status.ERROR}):
                for one in records.services.of_workspace(workspace.id):
                    if one.spec.command is not None and one.status in _LOOKED_AFTER:
                        is_starting = one.status is ServiceStatus.STARTING
                        charges.add(_Charge(workspace.id, workspace.container_id, one.spec, is_starting))
        for gone in self._watches.keys() - charges:
            self._watches.pop(gone).cancel()
        for forgotten in self._last.keys() - {(one.workspace_id, one.spec.name) for one in charges}:
            del self._last[forgotten]
        loop = asyncio.get_running_loop()
        for new in charges - self._watches.keys():
            watch = loop.create_task(self._watch(new), name=f"health {new.workspace_id} {new.spec.name}")
            self._watches[new] = watch

    async def _watch(self, charge: _Charge) -> None:
        check = charge.spec.health_check
        pause = min(check.interval, _OFTEN) if charge.is_starting else check.interval
        began = self._clock.monotonic()
        # Spread over the interval, so that a restarted server does not look at everything at one moment.
        spread = zlib.crc32(f"{charge.workspace_id} {charge.spec.name}".encode()) % 1000 / 1000
        await self._clock.sleep(pause * spread)
        while True:
            looked_at = self._clock.monotonic()
            try:
                look = await self._look(charge)
                if look is not None:
                    self._record(charge, look, since=began)
            except NexusError as error:
                _log.warning("a look at %s failed: %s", charge.spec.name, error, extra={"code": error.code})
            except Exception:
                # A fault here must not end the watch for good.
                _log.exception("looking after a service met a fault", extra={"workspace_id": charge.workspace_id})
            await self._clock.sleep(max(0.05, looked_at + pause - self._clock.monotonic()))

    async def _look(self, charge: _Charge) -> Look | None:
        """What a look says; None if it could not be done."""
        check = charge.spec.health_check
        async with self._places:
            try:
                look = self._workbench.look(charge.container_id, charge.spec)
                return await within(self._clock, check.timeout + _LATE, look)
            except TimeoutError:
                return Look(Health.TIMEOUT, f"No answer within {check.timeout:g} seconds")
            except NexusError as error:
                _log.info("could not look at %s: %s", charge.spec.name, error, extra={"code": error.code})
                return None

    def _record(self, charge: _Charge, look: Look, *, since: float) -> None:
        now = self._clock.now()
        self._last[charge.workspace_id, charge.spec.name] = now
        with self._store.snapshot() as records:
            service = records.services.get(charge.workspace_id, charge.spec.name)
        if service is None or service.status not in _LOOKED_AFTER:
            return
        after = self._after(service, look, since)
        if after == service:
            return
        # Nothing is awaited since it was read, so it is as it was.
        with self._store.transaction() as records:
            save_service(records, service, replace(after, last_check=now), now)
        if service.status is ServiceStatus.STARTING:
            self.nudge()

    def _after(self, service: Service, look: Look, since: float) -> Service:
        """The service as a look leaves it."""
        if look.health is Health.HEALTHY:
            return replace(service, status=ServiceStatus.RUNNING, health=Health.HEALTHY, error=None)
        if look.health is Health.UNKNOWN:
            return replace(service, status=ServiceStatus.STOPPED, health=Health.UNKNOWN, error=None)
        if service.status in _SAID:
            return service  # it says already what went wrong, or waits for its turn
        if service.status is not ServiceStatus.STARTING:
            return replace(service, status=ServiceStatus.UNHEALTHY, health=look.health, error=look.reason)
        if self._clock.monotonic() - since < service.spec.health_check.patience:
            return service
        return replace(service, status=ServiceStatus.ERROR, health=look.health, error=look.reason)


async def _awaited(event: asyncio.Event) -> None:
    await event.wait()
