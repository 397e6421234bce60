"""Compares what the database says with what is really there, and brings the two together."""

from __future__ import annotations

import logging
import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.engine import Engine
from nexus_core.engine.forwards import Forwards, wanted_targets
from nexus_core.engine.observation import Observation
from nexus_core.errors import NexusError, ProviderUnavailable
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.port_publisher import PortPublisher, Target
from nexus_core.ports.provider import Instance, ProviderStatus, WorkspaceProvider
from nexus_core.ports.store import Records, Store

_log = logging.getLogger(__name__)

_JUMP = 3600.0  # seconds; less is a clock that is being put right


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The provider's last answer, and when it last said that it is well."""

    status: ProviderStatus
    last_seen: datetime | None


class Reconciler:
    """Watches the node and mends what differs, every half minute with jitter.

    A check that failed means *unknown*: nothing is called dead because the provider did not answer.
    """

    def __init__(
        self,
        *,
        store: Store,
        provider: WorkspaceProvider,
        publisher: PortPublisher,
        forwards: Forwards,
        observation: Observation,
        engine: Engine,
        clock: Clock,
        policy: Policy,
    ) -> None:
        self._store = store
        self._provider = provider
        self._publisher = publisher
        self._forwards = forwards
        self._observation = observation
        self._engine = engine
        self._clock = clock
        self._policy = policy
        self._orphans: dict[str, float] = {}
        self._offset = clock.now().timestamp() - clock.monotonic()
        self._trusted_from = clock.monotonic()
        self.heartbeat = Heartbeat(ProviderStatus(available=False, node="local", error="not asked yet"), None)

    async def prepare(self) -> None:
        """Before work begins: ask for the node, and publish again what a reboot of the host swept away."""
        await self.beat()
        if not self.heartbeat.status.available:
            return
        try:
            instances = {one.name: one for one in await self._provider.instances()}
            published = await self._publisher.published()
            with self._store.snapshot() as records:
                kept = {
                    port: target
                    for workspace in records.workspaces.with_status(_MAY_BE_PUBLISHED)
                    for port, target in self._wanted(records, workspace, instances).items()
                    if workspace.status is Status.RUNNING or port in published
                }
            await self._publisher.restore(kept)
        except NexusError as error:
            _log.warning("could not restore the published ports: %s", error, extra={"code": error.code})

    async def run(self) -> None:
        """Beat and reconcile until cancelled."""
        next_round = self._clock.monotonic()  # a server that comes back does not know what went on without it
        while True:
            try:
                was_away = not self.heartbeat.status.available
                await self.beat()
                if was_away or self._clock.monotonic() >= next_round:
                    await self.reconcile()
                    next_round = self._clock.monotonic() + self._jittered()
            except NexusError as error:
                _log.warning("the round was cut short: %s", error, extra={"code": error.code})
            except Exception:
                # A fault here must not end the watch for good.
                _log.exception("the reconciler met a fault")
            await self._clock.sleep(self._policy.heartbeat_interval)

    async def beat(self) -> None:
        """Ask the provider how it is and remember the answer."""
        status = await self._provider.status()
        seen = self._clock.now() if status.available else self.heartbeat.last_seen
        node = status.node if status.available else self.heartbeat.status.node
        self.heartbeat = Heartbeat(replace(status, node=node), seen)

    async def reconcile(self) -> None:
        """One round: the truth about workspaces, their ports, orphans, and what is too old to keep.

        Raises `ProviderUnavailable` before anything is changed if the provider does not answer.
        """
        self._engine.admit()
        self._purge()
        instances = {one.name: one for one in await self._provider.instances()}
        for workspace in await self._observation.differing(instances.values()):
            await _try(self._observation.look(workspace))
        with self._store.snapshot() as records:
            running = records.workspaces.with_status({Status.RUNNING})
        await self._mend_ports(running, instances)
        await self._remove_orphans(instances.values())

    async def _mend_ports(self, running: Iterable[Workspace], instances: dict[str, Instance]) -> None:
        """Publish again what should be and is not, and withdraw what leads to nothing that may run."""
        published = await self._publisher.published()
        for workspace in running:
            with self._store.snapshot() as records:
                wanted = self._wanted(records, workspace, instances)
            for port in [port for port, target in wanted.items() if published.get(port) != target]:
                # Asked anew for each: publishing takes time, and the workspace may have been stopped meanwhile.
                with self._store.snapshot() as records:
                    latest = self._untouched(records, workspace)
                    target = latest and self._wanted(records, latest, instances).get(port)
                if target:
                    _log.warning("publishing port %d again", port, extra={"workspace_id": workspace.id})
                    await _try(self._publisher.publish(port, target))
            await _try(self._forwards.tidy(workspace))
        for port in published:
            with self._store.snapshot() as records:
                held = self._is_held(records, port)
            if not held:
                _log.warning("withdrawing port %d, which leads to nothing that runs", port)
                await _try(self._publisher.withdraw(port))

    @staticmethod
    def _is_held(records: Records, port: int) -> bool:
        """Whether a workspace that may run holds the port."""
        workspaces = records.workspaces.with_status(frozenset(Status) - {Status.STOPPED, Status.DELETED})
        return any(port == lease.port for one in workspaces for lease in records.leases.of_workspace(one.id))

    def _wanted(self, records: Records, workspace: Workspace, instances: dict[str, Instance]) -> dict[int, Target]:
        services = records.services.of_workspace(workspace.id)
        return wanted_targets(workspace, services, instances.get(workspace.container_id), self._policy)

    async def _remove_orphans(self, instances: Iterable[Instance]) -> None:
        now = self._clock.monotonic()
        with self._store.snapshot() as records:
            orphans = [one.name for one in instances if not (self._is_known(records, one) or self._is_spared(one))]
        self._orphans = {name: self._orphans.get(name, now) for name in orphans}
        for name, since in list(self._orphans.items()):
            if now - since >= self._policy.orphan_grace:
                _log.warning("removing the container %s, which belongs to no workspace", name)
                await self._provider.delete(name)
                del self._orphans[name]

    def _is_spared(self, instance: Instance) -> bool:
        """Whether the records may once have known it: they were restored from a backup since it was made."""
        restored = self._store.restored_at
        return restored is not None and (instance.created_at is None or instance.created_at <= restored)

    @staticmethod
    def _is_known(records: Records, instance: Instance) -> bool:
        workspace = records.workspaces.get(instance.workspace_id)
        return workspace is not None and workspace.status is not Status.DELETED

    @staticmethod
    def _untouched(records: Records, workspace: Workspace) -> Workspace | None:
        """The workspace as it is now, unless it left ``running`` or work on it began meanwhile."""
        latest = records.workspaces.get(workspace.id)
        if latest is None or latest.status is not Status.RUNNING or records.operations.unfinished(workspace.id):
            return None
        return latest

    def _purge(self) -> None:
        now = self._clock.now()
        if self._clock_jumped(now):
            return
        kept_since = now - timedelta(days=self._policy.retention_days)
        with self._store.transaction() as records:
            records.workspaces.purge_deleted(kept_since)
            records.events.purge(kept_since)
            records.tokens.purge_expired(kept_since)
            records.idempotency_keys.purge(now - timedelta(hours=self._policy.idempotency_hours))

    def _clock_jumped(self, now: datetime) -> bool:
        """Whether the wall clock was set within the last day: by a wrong one everything would be too old to keep."""
        monotonic = self._clock.monotonic()
        offset = now.timestamp() - monotonic
        if abs(offset - self._offset) > _JUMP:
            self._offset, self._trusted_from = offset, monotonic + timedelta(days=1).total_seconds()
            _log.warning("the clock was set to %s; nothing is called old for a day", f"{now:%Y-%m-%d %H:%M}")
        return monotonic < self._trusted_from

    def _jittered(self) -> float:
        # Not for secrets: it only keeps several servers from asking one node at the same moment.
        return self._policy.reconcile_interval * random.uniform(0.8, 1.2)  # noqa: S311  # see above


async def _try(work: Coroutine[Any, Any, None]) -> None:
    """One port or container that cannot be mended holds up no other, unless the provider is away altogether."""
    try:
        await work
    except ProviderUnavailable:
        raise
    except NexusError as error:
        _log.warning("could not mend what differs: %s", error, extra={"code": error.code})


# In one that has failed there may be something to mend over SSH.
_MAY_BE_PUBLISHED = frozenset({Status.RUNNING, Status.CREATING, Status.STARTING, Status.ERROR})
