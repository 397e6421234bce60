"""Whether containers and work under way are as the records say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from nexus_core.domain.finding import Area, Finding, Verdict, said
from nexus_core.domain.lifecycle import IN_TRANSIT, Status
from nexus_core.domain.operation import OperationStatus, StepName
from nexus_core.domain.workspace import Workspace
from nexus_core.errors import NexusError
from nexus_core.ports.examiner import Examiner
from nexus_core.ports.provider import Instance, InstanceState
from nexus_core.usecases.comparison import Kept, Sides

_AREA: Final = Area("workspaces")
_SLACK: Final = 60.0
_START_SERVER: Final = "Start the server (`nexus serve`)"


class CompareWorkspaces(Examiner):
    """Finds workspaces in trouble, containers that are gone, not as recorded or nobody's, and work that is stuck.

    Mends what is safe: a container with this server's mark that belongs to no workspace is removed once it
    is older than the grace, unless the records were restored from a backup since it was made. ``lxc`` is
    the command that administrators use on containers.
    """

    def __init__(self, sides: Sides, *, lxc: str) -> None:
        self._sides = sides
        self._lxc = lxc

    async def examine(self) -> Sequence[Finding]:
        try:
            # Containers before records: a workspace is written down before its container is made.
            instances: Sequence[Instance] | None = await self._sides.instances()
            unseen = ""
        except NexusError as error:
            instances, unseen = None, said(error)
        try:
            kept = self._sides.kept()
            orphans = [] if instances is None else self._orphans(instances)
        except NexusError as error:
            return [_AREA.warning("records", f"not compared: {said(error)}", "Mend the database first.")]
        found = [*self._in_trouble(kept), *self._work(kept)]
        if instances is None:
            found.append(_AREA.warning("containers", f"not compared: {unseen}", "Mend LXD first."))
        else:
            differing = list(self._differing(kept, instances))
            alike = _AREA.ok("containers", f"{len(instances)}, and each is as the records say")
            found += [*(differing or [alike]), *orphans]
        counted = f"{len(kept)}, {sum(one.workspace.status is Status.RUNNING for one in kept)} of them running"
        return [_AREA.ok("records", counted), *found]

    async def mend(self, finding: Finding) -> Finding:
        name = finding.mend or ""
        try:
            instances = [one for one in await self._sides.instances() if one.name == name]
            if not instances:
                return finding.mended("is gone")
            again = self._orphans(instances)
            if [one.mend for one in again] != [name]:
                return finding.not_mended("is not removed: it is not as it was", "Look again.")
            await self._sides.provider.delete(name)
        except NexusError as error:
            return finding.not_mended(f"was not removed: {said(error)}")
        return finding.mended("is removed: it belonged to no workspace")

    def _orphans(self, instances: Sequence[Instance]) -> list[Finding]:
        with self._sides.store.snapshot() as records:
            owners = {one.workspace_id: records.workspaces.get(one.workspace_id) for one in instances}
        return [
            self._orphan(one)
            for one in instances
            if (owner := owners[one.workspace_id]) is None or owner.status is Status.DELETED
        ]

    def _orphan(self, instance: Instance) -> Finding:
        name, made = instance.name, instance.created_at
        by_hand = f"`{self._lxc} delete --force {name}` removes it"
        restored = self._sides.store.restored_at
        if restored is not None and (made is None or made <= restored):
            keep = f"`{self._lxc} config unset {name} user.nexus.server` keeps it as a container of yours"
            says = "belongs to no workspace; the records were restored from a backup, and may have known it before"
            return _AREA.warning(name, says, f"Look what is in it. {by_hand}; {keep}.")
        if made is None:
            return _AREA.warning(name, "belongs to no workspace, and its age is not known", f"{by_hand}.")
        age = (self._sides.clock.now() - made).total_seconds()
        if age <= self._sides.policy.orphan_grace:
            says = f"belongs to no workspace, {age:.0f} s after it was made"
            return _AREA.warning(name, says, "Look again in a minute: whoever makes it may not be done.")
        fix = f"`nexus doctor --fix` removes it, and so does the server while it runs; by hand, {by_hand}."
        return _AREA.failure(name, "belongs to no workspace", fix, mend=name)

    def _differing(self, kept: Sequence[Kept], instances: Sequence[Instance]) -> Iterator[Finding]:
        by_name = {one.name: one for one in instances}
        renamed = {one.workspace_id: one.name for one in instances}
        for one in kept:
            if one.operation is None:
                finding = self._container(one, by_name.get(one.workspace.container_id), renamed)
                if finding is not None:
                    yield finding

    def _container(self, one: Kept, instance: Instance | None, renamed: Mapping[str, str]) -> Finding | None:
        workspace, name = one.workspace, one.workspace.container_id
        if instance is None:
            return self._missing(one, renamed.get(workspace.id)) if _should_have_one(workspace) else None
        runs = instance.state is InstanceState.RUNNING
        if workspace.status is Status.RUNNING and not runs:
            then = f"then `nexus start {workspace.name}` brings it up"
            fix = self._sides.or_by_itself(f"{_START_SERVER}, which looks into it; {then}.", f"looks into it; {then}")
            return _AREA.failure(one.title, f"runs by the records, and its container {name} is {instance.state}", fix)
        if workspace.status is Status.STOPPED and runs:
            fix = self._sides.or_by_itself(f"{_START_SERVER}, which starts the workspace.", "starts the workspace")
            return _AREA.warning(one.title, f"is stopped by the records, and its container {name} runs", fix)
        return None

    def _missing(self, one: Kept, elsewhere: str | None) -> Finding:
        name = one.workspace.container_id
        remove = f"`nexus rm --force {one.workspace.name}` removes what is left of the workspace"
        if elsewhere is None:
            return _AREA.failure(one.title, f"has lost its container {name}", f"What was in it is gone. {remove}.")
        fix = f"`{self._lxc} rename {elsewhere} {name}` while it is stopped, then start the workspace; or {remove}."
        return _AREA.failure(one.title, f"has lost its container {name}: it was renamed to {elsewhere}", fix)

    @staticmethod
    def _in_trouble(kept: Sequence[Kept]) -> Iterator[Finding]:
        for one in kept:
            workspace = one.workspace
            remove = f"`nexus rm --force {workspace.name}` removes it"
            if workspace.status in IN_TRANSIT and one.operation is None:
                yield _AREA.failure(one.title, f"is {workspace.status}, and nobody is at work on it", f"{remove}.")
            elif workspace.error is not None:
                step = f" at {workspace.error.step}" if workspace.error.step else ""
                says = f"is in error{step}: {workspace.error.message}"
                fix = f"`nexus start {workspace.name}` goes on from there; {remove}."
                yield _AREA.warning(one.title, says.rstrip("."), fix)

    def _work(self, kept: Sequence[Kept]) -> Iterator[Finding]:
        unfinished = [one for one in kept if one.operation is not None]
        late = [finding for one in unfinished if (finding := self._late(one)) is not None]
        if not unfinished:
            yield _AREA.ok("work", "none is under way")
        elif not self._sides.is_served():
            waits = f"operations that are not over: {len(unfinished)}"
            yield _AREA.warning("work", waits, f"{_START_SERVER}, which goes on with them.")
        else:
            yield from late or [_AREA.ok("work", f"under way: {len(unfinished)}, none of them late")]

    def _late(self, one: Kept) -> Finding | None:
        """The step that has taken longer than it may."""
        operation = one.operation
        if operation is None or operation.status is not OperationStatus.RUNNING or operation.next_step is None:
            return None
        step = operation.steps[operation.next_step]
        allowed = self._sides.policy.deadlines[StepName(step.name)] + _SLACK
        taken = _seconds_since(step.started_at, self._sides.clock.now())
        if taken <= allowed:
            return None
        says = f"has been at {step.name} for {taken:.0f} s, longer than the {allowed - _SLACK:.0f} s it may take"
        name = one.workspace.name
        fix = f"If LXD is away, it goes on when LXD is back; else `nexus stop --force {name}` gives it up."
        return Finding(_AREA.name, one.title, Verdict.WARNING, says, fix)


def _should_have_one(workspace: Workspace) -> bool:
    """Whether a container was made for it and is to be kept; what a failed one is missing, its error says."""
    return workspace.status in (Status.RUNNING, Status.STOPPED) and StepName.CREATE_INSTANCE in workspace.provisioned


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else (now - moment).total_seconds()
