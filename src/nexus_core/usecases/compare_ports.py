"""Whether host ports are leased and published as the records say, and free where they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from nexus_core.domain.finding import Area, Finding, said
from nexus_core.domain.host_ports import PortKind, PortRange
from nexus_core.domain.lifecycle import Status
from nexus_core.engine.forwards import wanted_targets
from nexus_core.errors import NexusError
from nexus_core.ports.examiner import Examiner
from nexus_core.ports.port_publisher import Target
from nexus_core.ports.provider import Instance, InstanceState
from nexus_core.usecases.comparison import Kept, Sides

_AREA: Final = Area("ports")
_SCARCE: Final = 0.1
_NOT_PUBLISHED = "publish"
_ASTRAY = "withdraw"
_DOWN: Final = frozenset({Status.STOPPED, Status.DELETED})


class ComparePorts(Examiner):
    """Finds leases that fit no workspace, ports that are not published or lead astray, and ports that others took.

    Where no server runs, it publishes and withdraws; a server does so by itself.
    """

    def __init__(self, sides: Sides) -> None:
        self._sides = sides

    async def examine(self) -> Sequence[Finding]:
        try:
            kept = self._sides.kept()
            found = [*self._leases(kept)]
        except NexusError as error:
            return [_AREA.warning("leases", f"not compared: {said(error)}", "Mend the database first.")]
        try:
            published = await self._sides.publisher.published()
            occupied = await self._sides.publisher.occupied()
        except NexusError as error:
            return [*found, _AREA.warning("published", f"not compared: {said(error)}", error.fix)]
        found += self._ranges(kept, occupied)
        try:
            instances = await self._sides.instances()
        except NexusError as error:
            return [*found, _AREA.warning("published", f"not compared: {said(error)}", "Mend LXD first.")]
        # Anew: what was published or stopped since the first look would seem to differ.
        return [*found, *self._published(self._sides.kept(), instances, published, occupied)]

    async def mend(self, finding: Finding) -> Finding:
        work, _, number = (finding.mend or "").partition(" ")
        port = int(number)
        if self._sides.is_served():
            return finding.not_mended("is left to the server, which runs by now")
        try:
            kept = self._sides.kept()
            if work == _ASTRAY:
                if port in _held(kept):
                    return finding.not_mended("is not withdrawn: it is held by now", "Look again.")
                await self._sides.publisher.withdraw(port)
                return finding.mended("is withdrawn")
            target = self._wanted(kept, await self._sides.instances()).get(port)
            if target is None:
                return finding.not_mended("is not published: nothing is to be there by now", "Look again.")
            await self._sides.publisher.publish(port, target)
        except NexusError as error:
            return finding.not_mended(f"stays as it is: {said(error)}")
        return finding.mended(f"is published again: it leads to {target.address}:{target.port}")

    def _leases(self, kept: Sequence[Kept]) -> Iterator[Finding]:
        holders = {lease.port: one for one in kept for lease in one.leases}
        with self._sides.store.snapshot() as records:
            leased = records.leases.held(PortKind.SSH) | records.leases.held(PortKind.SERVICE)
        found = [finding for one in kept if one.operation is None for finding in _unleased(one)]
        for port in sorted(leased - holders.keys()):
            fix = "Nothing needs doing: it is free when the deleted workspace is forgotten (`retention_days`)."
            found.append(_AREA.warning(f"port {port}", "is leased to a workspace that is deleted", fix))
        yield from found or [_AREA.ok("leases", f"{len(leased)}, and each fits its workspace")]

    def _ranges(self, kept: Sequence[Kept], occupied: frozenset[int]) -> Iterator[Finding]:
        held = {lease.port for one in kept for lease in one.leases}
        policy = self._sides.policy
        for name, which in (("ssh_ports", policy.ssh_ports), ("service_ports", policy.service_ports)):
            yield _range(name, which, held, occupied - held)

    def _published(
        self,
        kept: Sequence[Kept],
        instances: Sequence[Instance],
        published: Mapping[int, Target],
        occupied: frozenset[int],
    ) -> Iterator[Finding]:
        wanted = self._wanted(kept, instances)
        titles = {lease.port: one.title for one in kept for lease in one.leases}
        found: list[Finding] = []
        for port, target in sorted(wanted.items()):
            name = f"port {port}"
            if port in occupied:
                fix = "End that program (`ss -ltnp` and `nft list ruleset` show it), or stop and start the workspace."
                found.append(_AREA.failure(name, f"of {titles.get(port)} is taken by another program or server", fix))
            elif published.get(port) != target:
                found.append(self._unsettled(name, f"of {titles.get(port)} is not published", _NOT_PUBLISHED, port))
        for port in sorted(published.keys() - _held(kept)):
            says = f"leads to {published[port].address}, and no workspace that may run holds it"
            found.append(self._unsettled(f"port {port}", says, _ASTRAY, port))
        yield from found or [_AREA.ok("published", f"{len(published)}, and each leads where it should")]

    def _unsettled(self, subject: str, says: str, work: str, port: int) -> Finding:
        fix = self._sides.or_by_itself(
            "`nexus doctor --fix` mends it, and so does the server at its start.", "mends it"
        )
        return _AREA.failure(subject, says, fix, mend=None if self._sides.is_served() else f"{work} {port}")

    def _wanted(self, kept: Sequence[Kept], instances: Sequence[Instance]) -> dict[int, Target]:
        """Every port that is to be published now; of what is being worked on, none."""
        running = {one.name: one for one in instances if one.state is InstanceState.RUNNING}
        return {
            port: target
            for one in kept
            if one.operation is None and one.workspace.status is Status.RUNNING
            for port, target in wanted_targets(
                one.workspace, one.services, running.get(one.workspace.container_id), self._sides.policy
            ).items()
        }


def _held(kept: Sequence[Kept]) -> set[int]:
    """The ports of workspaces that may run."""
    return {lease.port for one in kept if one.workspace.status not in _DOWN for lease in one.leases}


def _unleased(one: Kept) -> Iterator[Finding]:
    """Where a workspace's own word for its ports and its leases differ."""
    leased = {lease.port for lease in one.leases}
    mapped = {service.mapped_port: service.name for service in one.services if service.mapped_port is not None}
    if one.workspace.ssh_port is not None and one.workspace.ssh_port not in leased:
        says = f"uses port {one.workspace.ssh_port} for SSH without a lease, so that it may be given to another"
        yield _AREA.failure(one.title, says, "Put a backup in place that knows it (`nexus restore`), or make it anew.")
    for port in sorted(mapped.keys() - leased):
        name, service = one.workspace.name, mapped[port]
        fix = f"`nexus forward --remove {name} {service}`, then `nexus forward {name} {service}`."
        yield _AREA.failure(one.title, f"forwards port {port} to {service} without a lease", fix)
    for port in sorted(leased - mapped.keys() - {one.workspace.ssh_port}):
        fix = "Nothing needs doing: the server gives it back while the workspace runs."
        yield _AREA.warning(one.title, f"has leased port {port}, and nothing of it is there", fix)


def _range(name: str, which: PortRange, held: set[int], others: frozenset[int]) -> Finding:
    """How much of a range is left."""
    taken = sorted(port for port in others if port in which)
    leased = sum(port in which for port in held)
    free = len(which) - leased - len(taken)
    by_others = f", {len(taken)} taken by other programs or servers ({_spans(taken)})" if taken else ""
    says = f"{which}: {leased} leased{by_others}, {free} free"
    fix = f"Delete workspaces or forwards that are not needed, or widen `{name}` in the settings."
    if free == 0:
        return _AREA.failure(name, says, fix)
    return _AREA.warning(name, says, fix) if free < _SCARCE * len(which) else _AREA.ok(name, says)


def _spans(ports: Sequence[int]) -> str:
    """Sorted ports, neighbours as a range; no more than four of these."""
    spans = [[port for _, port in run] for _, run in groupby(enumerate(ports), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in spans]
    return ", ".join([*texts[:4], *(["…"] if len(texts) > 4 else [])])
