"""What each step does. Every step may be done again after a crash without doing harm."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.domain.operation import Operation, OperationKind, StepName
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.deadline import within
from nexus_core.engine.forwards import SSH, withdraw_ports
from nexus_core.engine.journal import owner_of
from nexus_core.errors import (
    HostPortTaken,
    InstanceMissing,
    ProviderFailed,
    SshNotReady,
)
from nexus_core.policy import Policy
from nexus_core.ports.bundles import Bundles
from nexus_core.ports.clock import Clock
from nexus_core.ports.port_publisher import PortPublisher, Target
from nexus_core.ports.provider import InstanceSpec, InstanceState, WorkspaceProvider
from nexus_core.ports.public_keys import PublicKeys
from nexus_core.ports.ssh_probe import SshProbe
from nexus_core.ports.store import Store

# The first SYN to a container that is still bringing its interface up is lost, and the kernel
# would repeat it only after a second: give up early at first, and be patient on a loaded machine.
_FIRST_ATTEMPT, _LONGEST_ATTEMPT, _PAUSE = 0.1, 4.0, 0.01

Edit = Callable[[Workspace], Workspace]
"""What a step changed in the workspace's record; stored together with the step's end."""


class NothingToDo:
    """What a step answers that turned out to have nothing to do."""


Action = Callable[[Workspace, Operation], Coroutine[Any, Any, Edit | NothingToDo | None]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The actions behind the step names, on the ports they need."""

    store: Store
    provider: WorkspaceProvider
    publisher: PortPublisher
    keys: PublicKeys
    probe: SshProbe
    bundles: Bundles
    clock: Clock
    policy: Policy

    def actions(self) -> Mapping[StepName, Action]:
        """Which action belongs to which name."""
        return {
            StepName.CREATE_INSTANCE: self.create_instance,
            StepName.PUBLISH_SSH: self.publish_ssh,
            StepName.START_INSTANCE: self.start_instance,
            StepName.WAIT_FOR_SSH: self.wait_for_ssh,
            StepName.INSTALL_KEY: self.install_key,
            StepName.WITHDRAW_SSH: self.withdraw_ssh,
            StepName.STOP_INSTANCE: self.stop_instance,
            StepName.DELETE_INSTANCE: self.delete_instance,
        }

    async def is_up(self, workspace: Workspace, operation: Operation) -> bool:
        """Whether the container runs and its SSH port leads to it: a reboot that LXD undoes takes the port alone."""
        instance = await self.provider.observe(workspace.container_id)
        if instance.state is not InstanceState.RUNNING or instance.address is None or workspace.ssh_port is None:
            return False
        return (await self.publisher.published()).get(workspace.ssh_port) == Target(instance.address, SSH)

    async def create_instance(self, workspace: Workspace, operation: Operation) -> Edit:
        """Make the container with a new host key and the owner's present key inside.

        The private half is never stored outside the container: a repeated creation makes another.
        """
        with self.store.snapshot() as records:
            owner = owner_of(records, workspace)
        host_key = self.keys.generate_host_key()
        await self.provider.create(
            InstanceSpec(
                name=workspace.container_id,
                workspace_id=workspace.id,
                owner=workspace.owner,
                hostname=workspace.name,
                image=workspace.image,
                resources=workspace.resources,
                authorized_key=owner.public_key,
                host_key=host_key,
            )
        )
        fingerprint = owner.public_key.fingerprint
        return lambda latest: replace(latest, host_key=host_key.public, authorized_fingerprint=fingerprint)

    async def publish_ssh(self, workspace: Workspace, operation: Operation) -> Edit | None:
        """Lead the leased port to the container; one that is taken on the host is exchanged."""
        instance = await self.provider.observe(workspace.container_id)
        if instance.address is None:
            raise InstanceMissing(f"The container {workspace.container_id} has no address")
        target = Target(instance.address, SSH)
        asked, port = workspace.ssh_port, workspace.ssh_port
        taken: set[int] = set()
        while True:
            if port is None:
                port = await self._exchange_port(workspace, taken)
            try:
                await self.publisher.publish(port, target)
                break
            except HostPortTaken:
                taken.add(port)
                port = None
        if port == asked:
            return None
        note = f"The SSH port moved from {asked} to {port}: another program on the host holds {asked}."
        return lambda latest: replace(latest, notes=(*latest.notes, note))

    async def _exchange_port(self, workspace: Workspace, taken: set[int]) -> int:
        occupied = await self.publisher.occupied() | taken
        now = self.clock.now()
        with self.store.transaction() as records:
            latest = records.workspaces.get(workspace.id) or workspace
            held = [lease.port for lease in records.leases.of_workspace(workspace.id) if lease.kind is PortKind.SSH]
            port = self.policy.ssh_ports.lowest_free(records.leases.held(PortKind.SSH), occupied)
            for old in held:
                records.leases.release(workspace.id, now, port=old)
            records.leases.take(Lease(port, PortKind.SSH, workspace.id, now))
            records.workspaces.update(replace(latest, ssh_port=port, updated_at=now))
        return port

    async def start_instance(self, workspace: Workspace, operation: Operation) -> Edit | None:
        """Run the container, with the owner's present key if it changed while it was stopped."""
        edit = await self.install_key(workspace, operation)
        await self.provider.start(workspace.container_id)
        return edit

    async def install_key(self, workspace: Workspace, operation: Operation) -> Edit | None:
        """Let the owner's present key, and no other, open the container."""
        with self.store.snapshot() as records:
            owner = owner_of(records, workspace)
        if owner.public_key.fingerprint == workspace.authorized_fingerprint:
            return None
        self._forget_key(workspace)
        try:
            await self.provider.authorize(workspace.container_id, owner.public_key)
        except InstanceMissing:
            if operation.kind is not OperationKind.REKEY:
                raise
            # Somebody removed it by hand: nothing is left that any other key could open.
        fingerprint = owner.public_key.fingerprint
        return lambda latest: replace(latest, authorized_fingerprint=fingerprint)

    def _forget_key(self, workspace: Workspace) -> None:
        """Record that it is not known which key the container admits.

        Exchanging it may take effect without our learning so: without this record the next attempt
        would take the key it saw last for the one inside.
        """
        with self.store.transaction() as records:
            latest = records.workspaces.get(workspace.id) or workspace
            records.workspaces.update(replace(latest, authorized_fingerprint=None))

    async def wait_for_ssh(self, workspace: Workspace, operation: Operation) -> None:
        """Shake hands through the published port until the injected host key answers."""
        if workspace.ssh_port is None or workspace.host_key is None:
            raise ProviderFailed(f"{workspace.id} has no SSH port or no host key")
        patience = _FIRST_ATTEMPT
        while True:
            try:
                handshake = self.probe.handshake(workspace.ssh_port, workspace.host_key)
                return await within(self.clock, patience, handshake)
            except (SshNotReady, TimeoutError):
                patience = min(patience * 2, _LONGEST_ATTEMPT)
                await self.clock.sleep(_PAUSE)

    async def withdraw_ssh(self, workspace: Workspace, operation: Operation) -> None:
        """Let no new connection in, by SSH or to a service."""
        await withdraw_ports(self.store, self.publisher, workspace)

    async def stop_instance(self, workspace: Workspace, operation: Operation) -> None:
        """Stop the container, at once if forced."""
        await self.provider.stop(workspace.container_id, grace=0 if operation.force else self.policy.stop_grace)

    async def delete_instance(self, workspace: Workspace, operation: Operation) -> None:
        """Remove the container, and an uploaded repository that it had not taken in yet."""
        await self.provider.delete(workspace.container_id)
        self.bundles.remove(workspace.id)
