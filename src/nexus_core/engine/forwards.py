"""Host ports that lead to services: leased, published, moved when they clash, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.service import Service
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.fault_points import FORWARD, UNFORWARD, Passing, unheeded
from nexus_core.errors import (
    HostPortsExhausted,
    HostPortTaken,
    InstanceMissing,
    InvalidRequest,
    ServiceNotFound,
    WorkspaceNotRunning,
)
from nexus_core.policy import Policy
from nexus_core.ports.clock import Clock
from nexus_core.ports.port_publisher import PortPublisher, Target
from nexus_core.ports.provider import Instance, InstanceState, WorkspaceProvider
from nexus_core.ports.store import Records, Store

SSH = 22
_UP = frozenset({Status.CREATING, Status.STARTING, Status.RUNNING})


def wanted_targets(
    workspace: Workspace, services: Iterable[Service], instance: Instance | None, policy: Policy
) -> dict[int, Target]:
    """The host ports that are to lead to this instance, and where; none while its address is not known."""
    if instance is None or instance.address is None:
        return {}
    wanted = {} if workspace.ssh_port is None else {workspace.ssh_port: Target(instance.address, SSH)}
    for one in services:
        if one.mapped_port is not None and one.spec.port is not None:
            wanted[one.mapped_port] = Target(instance.address, one.spec.port, policy.service_address)
    return wanted


@dataclass(frozen=True, slots=True)
class Opened:
    """A forward that is in place; ``is_new`` says that it was not there before."""

    service: Service
    lease: Lease
    is_new: bool


@dataclass(frozen=True, slots=True)
class Forwards:
    """Opens and closes forwards, one change to a workspace after another."""

    store: Store
    provider: WorkspaceProvider
    publisher: PortPublisher
    clock: Clock
    policy: Policy
    passing: Passing = unheeded
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary[str, asyncio.Lock])

    async def open(self, workspace: Workspace, name: str, *, port: int | None = None) -> Opened:
        """Have a host port lead to the service, ``port`` if one is named; idempotent.

        A port that turns out to be taken on the host is exchanged for the next, unless it was named.
        Raises `ServiceNotFound`, `WorkspaceNotRunning` for one that stops meanwhile, `InvalidRequest` for a
        service without a port or a port out of range, `HostPortTaken`, `HostPortsExhausted`, `InstanceMissing`
        and `PublishFailed`; then what was forwarded before still is.
        """
        async with self._turn(workspace.id):
            instance = await self.provider.observe(workspace.container_id)
            if instance.address is None:
                raise InstanceMissing(f"The container {workspace.container_id} has no address")
            if instance.state is not InstanceState.RUNNING:
                raise WorkspaceNotRunning(f"The container of {workspace.name} is {instance.state}")
            taken: set[int] = set()
            undo: tuple[int, int | None] | None = None
            try:
                while True:
                    occupied = await self.publisher.occupied() | taken
                    before, opened = self._lease(workspace, name, port, occupied, taken)
                    undo = (opened.lease.port, before.mapped_port) if opened.is_new else None
                    self.passing(FORWARD[0])
                    inner = opened.service.spec.port or 0
                    try:
                        target = Target(instance.address, inner, self.policy.service_address)
                        await self.publisher.publish(opened.lease.port, target)
                        break
                    except HostPortTaken:
                        if port is not None:
                            raise
                        taken.add(opened.lease.port)
                self.passing(FORWARD[1])
                await self._withdraw_if_stopped(workspace, opened.lease.port)
            except BaseException:
                if undo is not None:
                    self._put_back(workspace, name, *undo)
                raise
            if before.mapped_port is not None and before.mapped_port != opened.lease.port:
                await self._give_back(workspace.id, before.mapped_port)
            self.passing(FORWARD[2])
            return opened

    async def close(self, workspace: Workspace, name: str) -> bool:
        """Forward the service no longer, also not when the workspace starts again; whether it was forwarded.

        Raises `ServiceNotFound`, and `PublishFailed`; then it is forwarded as before.
        """
        async with self._turn(workspace.id):
            with self.store.snapshot() as records:
                port = existing_service(records, workspace, name).mapped_port
            if port is None:
                return False
            await self.publisher.withdraw(port)
            self.passing(UNFORWARD[0])
            with self.store.transaction() as records:
                service = existing_service(records, workspace, name)
                closed = replace(service, mapped_port=None, spec=replace(service.spec, expose=False))
                records.services.update(closed)
                records.leases.release(workspace.id, self.clock.now(), port=port)
            self.passing(UNFORWARD[1])
            return True

    async def tidy(self, workspace: Workspace) -> None:
        """Give back ports that lead to no service any more: a move there was broken off."""
        if self._turn(workspace.id).locked():
            return
        async with self._turn(workspace.id):
            with self.store.snapshot() as records:
                mapped = {one.mapped_port for one in records.services.of_workspace(workspace.id)}
                leases = records.leases.of_workspace(workspace.id)
            for lease in leases:
                if lease.kind is PortKind.SERVICE and lease.port not in mapped:
                    await self._give_back(workspace.id, lease.port)

    def _turn(self, workspace_id: str) -> asyncio.Lock:
        """The lock for changes to the workspace's forwards, there as long as somebody has or wants it."""
        return self._turns.setdefault(workspace_id, asyncio.Lock())

    def _lease(
        self, workspace: Workspace, name: str, port: int | None, occupied: frozenset[int], taken: set[int]
    ) -> tuple[Service, Opened]:
        """The service as it was, and with a port that is leased to it; the one it had stays leased meanwhile."""
        now = self.clock.now()
        with self.store.transaction() as records:
            service = existing_service(records, workspace, name)
            _check_up(records, workspace)
            if service.spec.port is None:
                raise InvalidRequest(
                    f"Service {name!r} has no port that could be forwarded",
                    fix="Give the service a `port`.",
                    details={"$.service_name": "a service without a port"},
                )
            leases = {one.port: one for one in records.leases.of_workspace(workspace.id)}
            present = service.mapped_port
            if present is not None and present not in taken and port in (None, present) and present in leases:
                return service, Opened(service, leases[present], is_new=False)
            chosen = self._choose(records, port, occupied)
            lease = Lease(chosen, PortKind.SERVICE, workspace.id, now)
            records.leases.take(lease)
            for old in taken & leases.keys():
                records.leases.release(workspace.id, now, port=old)
            moved = replace(service, mapped_port=chosen)
            records.services.update(moved)
            return service if present not in taken else replace(service, mapped_port=None), Opened(moved, lease, True)

    def _choose(self, records: Records, port: int | None, occupied: frozenset[int]) -> int:
        held = records.leases.held(PortKind.SERVICE)
        if port is None:
            try:
                return self.policy.service_ports.lowest_free(held, occupied)
            except HostPortsExhausted as exc:
                raise HostPortsExhausted(
                    "No host port is free for another forward",
                    why=exc.why,
                    fix="Close one (`nexus forward WORKSPACE`), or widen `service_ports` in the server's settings.",
                    details=exc.details,
                ) from exc
        if port not in self.policy.service_ports:
            raise InvalidRequest(
                f"Port {port} is not among those that lead to services",
                details={
                    "$.mapped_port": f"must be between {self.policy.service_ports.first} and "
                    f"{self.policy.service_ports.last}"
                },
            )
        if port in held or port in occupied:
            raise HostPortTaken(f"Port {port} of the host is taken")
        return port

    def _put_back(self, workspace: Workspace, name: str, port: int, before: int | None) -> None:
        """Undo a lease whose port could not be published."""
        with self.store.transaction() as records:
            records.leases.release(workspace.id, self.clock.now(), port=port)
            latest = records.services.get(workspace.id, name)
            if latest is not None and latest.mapped_port == port:
                records.services.update(replace(latest, mapped_port=before))

    async def _withdraw_if_stopped(self, workspace: Workspace, port: int) -> None:
        """Publishing takes time: who stopped the workspace meanwhile may have withdrawn the port before."""
        try:
            with self.store.snapshot() as records:
                _check_up(records, workspace)
        except WorkspaceNotRunning:
            await self.publisher.withdraw(port)
            raise

    async def _give_back(self, workspace_id: str, port: int) -> None:
        await self.publisher.withdraw(port)
        with self.store.transaction() as records:
            records.leases.release(workspace_id, self.clock.now(), port=port)


async def withdraw_ports(store: Store, publisher: PortPublisher, workspace: Workspace) -> None:
    """Let no new connection in, by SSH or to a service; the leases stay. Raises `PublishFailed`."""
    with store.snapshot() as records:
        forwarded = [one.mapped_port for one in records.services.of_workspace(workspace.id)]
    for port in (workspace.ssh_port, *forwarded):
        if port is not None:
            await publisher.withdraw(port)


def existing_service(records: Records, workspace: Workspace, name: str) -> Service:
    """The workspace's service of that name, else `ServiceNotFound`."""
    service = records.services.get(workspace.id, name)
    if service is None:
        raise ServiceNotFound(f"{workspace.name} has no service {name[:70]!r}")
    return service


def _check_up(records: Records, workspace: Workspace) -> None:
    """Raise `WorkspaceNotRunning` unless the workspace runs or is about to."""
    latest = records.workspaces.get(workspace.id) or workspace
    if latest.status not in _UP:
        raise WorkspaceNotRunning(f"{latest.name} is {latest.status}", details={"status": str(latest.status)})
