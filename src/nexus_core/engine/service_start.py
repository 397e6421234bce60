"""Following services as they come up, until all are healthy or one has failed."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from nexus_core.domain.service import CheckType, Health, Service, ServiceStatus, graph_of
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.deadline import within
from nexus_core.engine.journal import save_service
from nexus_core.errors import DeadlineExceeded, ProviderFailed, ServiceFailed
from nexus_core.ports.clock import Clock
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Happening, Run, ServiceEvent, Workbench

CRASHES = 3
"""How often a service may end by itself while services start: the first times something may not be ready."""

LONGEST_TAIL = 4000
"""Characters of output that an error shows: a line may have any length."""

_TAIL = 15


class ServiceStart:
    """One start of a workspace's services; what happens is in the records while it happens."""

    def __init__(
        self,
        *,
        store: Store,
        workbench: Workbench,
        clock: Clock,
        workspace: Workspace,
        services: list[Service],
    ) -> None:
        self._store = store
        self._workbench = workbench
        self._clock = clock
        self._workspace = workspace
        self._graph = graph_of([one.spec for one in services])
        self._specs = {one.name: one.spec for one in services}
        # What has no command is not ours to start.
        self._awaited = {one.name for one in services if one.spec.command is not None}
        self._scripts_awaited = True  # also where there are none: their end tells that all is in place
        self._crashes: Counter[str] = Counter()
        for one in services:
            if one.spec.command is None:
                self._show(one.name, status=ServiceStatus.RUNNING, error=None)

    async def __call__(self, run: Run) -> None:
        """Return when every service is healthy and the scripts that follow have ended well.

        Raises `ServiceFailed` as soon as one cannot be had: it and what depends on it are stopped then, and
        say why; the others go on. Raises `DeadlineExceeded` when ``run`` is out of time.
        """
        try:
            await within(self._clock, run.within, self._follow(run))
        except TimeoutError as exc:
            waiting = ", ".join(sorted(self._awaited)) or "the scripts after the start"
            raise DeadlineExceeded(
                f"The services did not come up within {run.within:g} seconds", why=f"Still waited for: {waiting}."
            ) from exc

    async def _follow(self, run: Run) -> None:
        async with aclosing(self._workbench.start(self._workspace.container_id, run)) as events:
            async for event in events:
                await self._take_in(event)
                if not (self._awaited or self._scripts_awaited):
                    return
        raise ProviderFailed(
            "The services could not be followed to the end of their start", why="The container stopped meanwhile."
        )

    async def _take_in(self, event: ServiceEvent) -> None:
        name = event.service
        if event.kind is Happening.SCRIPTS_DONE:
            self._scripts_awaited = False
        elif event.kind is Happening.SCRIPT_FAILED:
            raise ServiceFailed("A script after the start failed", why=event.reason)
        elif name not in self._specs:
            return
        elif event.kind is Happening.STARTING:
            self._awaited.add(name)
            self._show(name, status=ServiceStatus.STARTING, health=Health.UNKNOWN)
        elif event.kind is Happening.HEALTHY:
            self._awaited.discard(name)
            checked = self._clock.now()
            self._show(name, status=ServiceStatus.RUNNING, health=Health.HEALTHY, error=None, last_check=checked)
        elif event.kind is Happening.FAILED:
            await self._give_up(name, event.reason)
        elif event.exit_code == 0 and self._specs[name].health_check.type is CheckType.NONE:
            # Something like a migration: it did its work, and whoever waits for it may go on.
            self._awaited.discard(name)
            self._show(name, status=ServiceStatus.STOPPED, health=Health.UNKNOWN, error=None)
        else:
            self._awaited.add(name)
            self._crashes[name] += 1
            if self._crashes[name] >= CRASHES or event.exit_code == 0:
                times = "" if event.exit_code == 0 else f", {CRASHES} times"
                await self._give_up(name, f"{event.reason}{times}")
            self._show(name, status=ServiceStatus.STARTING, health=Health.UNKNOWN, error=f"{event.reason}; tried again")

    async def _give_up(self, name: str, reason: str) -> None:
        """Stop the service and what depends on it, say so in the records, and raise `ServiceFailed`."""
        blocked = sorted(self._graph.dependents(name) & self._specs.keys())
        instance = self._workspace.container_id
        await self._workbench.stop(instance, [name, *blocked])
        tail = await self._workbench.tail(instance, name, lines=_TAIL)
        self._show(name, status=ServiceStatus.ERROR, health=Health.UNHEALTHY, error=reason)
        for other in blocked:
            self._show(
                other,
                status=ServiceStatus.STOPPED,
                health=Health.UNKNOWN,
                error=f"Not started: it depends on {name}, which failed.",
            )
        why = f"{reason}."
        if blocked:
            why += f" Not started, as they depend on it: {', '.join(blocked)}."
        if tail.strip():
            why += f" The end of its output:\n{tail.rstrip()[-LONGEST_TAIL:]}\n"
        raise ServiceFailed(
            f"Service {name!r} did not come up",
            why=why,
            fix=f"Read `nexus logs {self._workspace.name} {name}`, mend the cause, and start the workspace again.",
        )

    def _show(self, name: str, **changes: Any) -> None:
        """Store how a service fares now."""
        now = self._clock.now()
        with self._store.transaction() as records:
            latest = records.services.get(self._workspace.id, name)
            if latest is not None:
                save_service(records, latest, replace(latest, **changes), now)
