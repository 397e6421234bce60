"""Work inside containers that exist in memory only: repositories, scripts and services that do as they are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import Health, ServiceSpec
from nexus_core.errors import (
    BundleMissing,
    CloneFailed,
    InstanceMissing,
    InstanceStopped,
    NexusError,
    ProviderFailed,
    ProviderUnavailable,
    SetupFailed,
)
from nexus_core.ports.provider import Instance, InstanceState
from nexus_core.ports.workbench import Checkout, Look, Run, ServiceEvent, Source, Workbench
from nexus_fakes.faults import Faults
from nexus_fakes.insides import FakeInsides, FakeRepository, Inside
from nexus_fakes.provider import FakeProvider

__all__ = ["FakeInsides", "FakeRepository", "FakeWorkbench", "Inside"]


class FakeWorkbench(Workbench):
    """A `Workbench` for the containers of a `FakeProvider`.

    What is inside belongs to the `FakeInsides` and so outlives it: give a second workbench the same to play a
    server that has been restarted. A container that stops stops its services, and one that starts starts those
    that were installed. What follows a container whose state a test changes by hand is told by
    `FakeInsides.wake`. The faults of the methods go by these names: ``clone``, ``read_files``, ``run_setup``,
    ``install``, ``start_services``, ``stop_services``, ``restart_service``, ``look``, ``tail``.
    """

    def __init__(
        self, provider: FakeProvider, *, insides: FakeInsides | None = None, faults: Faults | None = None
    ) -> None:
        self.insides = insides or FakeInsides()
        self.faults = faults or Faults()
        self._provider = provider

    async def clone(self, instance: str, source: Source, run: Run) -> Checkout:
        inside = await self._enter("clone", instance)
        if inside.checkout is None:
            if ("clone", run.id) not in inside.outcomes:
                inside.outcomes["clone", run.id] = self._clone(inside, source)
            failure = inside.outcomes["clone", run.id]
            if failure is not None:
                raise failure
        await self.faults.reached("clone", after=True)
        return inside.checkout or Checkout(None, None)

    def _clone(self, inside: Inside, source: Source) -> NexusError | None:
        """Why it failed, or nothing; what was not begun has not failed."""
        repository, credentials = source.repository, source.credentials
        if repository.bundle and source.bundle_path is None:
            raise BundleMissing("The repository's bundle has not arrived")
        address = source.bundle_path if repository.bundle else repository.url
        found = self.insides.repositories.get(address or "")
        inside.log += f"==> git clone {repository.url or 'repository.bundle'}\n"
        if found is None:
            return _clone_failed(source, "repository not found")
        if found.token not in (None, credentials.token) or found.deploy_key not in (None, credentials.deploy_key):
            return _clone_failed(source, "Authentication failed")
        branch = repository.branch or next(iter(found.branches), None)
        if branch is not None and branch not in found.branches:
            return _clone_failed(source, f"Remote branch {branch} not found")
        inside.files.update(found.files)
        inside.checkout = Checkout(branch, found.branches[branch] if branch else None)
        return None

    async def read_files(self, instance: str, paths: Sequence[str]) -> dict[str, str]:
        inside = await self._enter("read_files", instance)
        await self.faults.reached("read_files", after=True)
        return {path: inside.files[path] for path in paths if path in inside.files}

    async def run_setup(self, instance: str, recipe: Recipe, run: Run) -> None:
        inside = await self._enter("run_setup", instance)
        if ("setup", run.id) not in inside.outcomes:
            inside.outcomes["setup", run.id] = self._run_setup(inside, recipe)
        failure = inside.outcomes["setup", run.id]
        if failure is not None:
            raise failure
        await self.faults.reached("run_setup", after=True)

    def _run_setup(self, inside: Inside, recipe: Recipe) -> NexusError | None:
        for number, script in enumerate(recipe.setup, start=1):
            if (number, script) in inside.scripts_done:
                continue
            code = self.insides.perform(inside, script)
            if code:
                what = f"The set-up script {number} of {len(recipe.setup)} (`{script}`) ended with exit code {code}"
                return SetupFailed(what, why=f"The end of its output:\n{inside.log[-200:]}")
            inside.scripts_done.add((number, script))
        return None

    async def install(self, instance: str, services: Sequence[ServiceSpec], recipe: Recipe) -> None:
        inside = await self._enter("install", instance)
        inside.services = {one.name: one for one in services if one.command is not None}
        inside.recipe, inside.is_installed = recipe, True
        # Nothing is started by this: that is for `start`, or the next start of the container.
        inside.resting |= {name for name in inside.services if name not in inside.up}
        inside.scripts_over = inside.scripts_over or False
        await self.faults.reached("install", after=True)

    async def start(self, instance: str, run: Run) -> AsyncGenerator[ServiceEvent, None]:
        inside = await self._enter("start_services", instance)
        told = inside.begin(run.id)
        life = inside.life
        self.insides.go_on(inside)
        await self.faults.reached("start_services", after=True)
        while self._present(instance) and self._provider.life(instance) == life:
            pulse = self.insides.pulse
            self.inside(instance)
            while told < len(inside.events):
                told += 1
                yield inside.events[told - 1]
            await pulse.wait()

    async def stop(self, instance: str, services: Sequence[str]) -> None:
        inside = await self._enter("stop_services", instance)
        inside.end(services, rest=True)
        await self.faults.reached("stop_services", after=True)

    async def restart(self, instance: str, service: str) -> None:
        inside = await self._enter("restart_service", instance)
        if service not in inside.services:
            raise ProviderFailed(f"Service {service!r} could not be restarted")
        inside.end([service], rest=False)
        self.insides.go_on(inside)
        self.insides.wake()
        await self.faults.reached("restart_service", after=True)

    async def look(self, instance: str, service: ServiceSpec) -> Look:
        inside = await self._enter("look", instance)
        await self.faults.reached("look", after=True)
        if service.name in inside.finished:
            return Look(Health.UNKNOWN)
        if service.name in self.insides.sick or service.name not in inside.up:
            return Look(Health.UNHEALTHY, "It is not well")
        return Look(Health.HEALTHY)

    async def tail(self, instance: str, service: str | None, *, lines: int) -> str:
        if service is None:
            await self.faults.reached("tail")
            if self._present(instance).state is InstanceState.FROZEN:
                raise _stopped(instance)
            text = self.inside(instance).log
        else:
            text = (await self._enter("tail", instance)).outputs.get(service, "")
        await self.faults.reached("tail", after=True)
        return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""

    async def follow(self, instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        tail = await self.tail(instance, service, lines=lines)
        if tail:
            yield tail.encode()
        inside = self.inside(instance)
        told = len(self._text(inside, service))
        while self._present(instance) and self._provider.life(instance) is not None:
            pulse = self.insides.pulse
            text = self._text(inside, service)
            if len(text) > told:
                news, told = text[told:], len(text)
                yield news.encode()
            await pulse.wait()

    def inside(self, instance: str) -> Inside:
        """What is inside the container now; asking counts as no call and meets no fault."""
        inside = self.insides.by_name.setdefault(instance, Inside())
        found = self._listed(instance)
        life = self._provider.life(instance)
        if inside.life != life:
            inside.begin_life(life)
        if found is not None and found.state is InstanceState.RUNNING:
            self.insides.go_on(inside)
        return inside

    @staticmethod
    def _text(inside: Inside, service: str | None) -> str:
        return inside.log if service is None else inside.outputs.get(service, "")

    async def _enter(self, method: str, instance: str) -> Inside:
        await self.faults.reached(method)
        state = self._present(instance).state
        if state in (InstanceState.STOPPED, InstanceState.FROZEN):
            raise _stopped(instance)
        if state is not InstanceState.RUNNING:
            raise ProviderFailed(f"{instance} is {state}, so nothing can be done inside")
        return self.inside(instance)

    def _present(self, instance: str) -> Instance:
        if not self._provider.available:
            raise ProviderUnavailable("The fake is away")
        found = self._listed(instance)
        if found is None:
            raise InstanceMissing(f"There is no instance {instance}")
        return found

    def _listed(self, instance: str) -> Instance | None:
        return next((one for one in self._provider.present() if one.name == instance), None)


def _stopped(instance: str) -> InstanceStopped:
    return InstanceStopped(f"The container {instance} does not run")


def _clone_failed(source: Source, said: str) -> CloneFailed:
    name = source.repository.url or "the uploaded bundle"
    return CloneFailed(f"{name} could not be cloned", why=f"git says: fatal: {said}")
