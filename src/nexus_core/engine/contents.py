"""What the steps inside a workspace do: its repository, set-up, services and their forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nexus_core.domain.host_ports import PortKind
from nexus_core.domain.operation import Operation, OperationKind, StepName
from nexus_core.domain.recipe import ProjectConfig, Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.service import Service, ServiceSpec
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.forwards import Forwards
from nexus_core.engine.service_start import ServiceStart
from nexus_core.engine.steps import Action, Edit, NothingToDo
from nexus_core.errors import BundleMissing, InvalidConfig, InvalidRequest
from nexus_core.policy import Policy
from nexus_core.ports.bundles import Bundles
from nexus_core.ports.clock import Clock
from nexus_core.ports.project_files import ProjectFiles
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.store import Store
from nexus_core.ports.workbench import Checkout, Run, Source, Workbench

_SLACK = 15.0  # what is begun inside ends by itself this long before the step's own deadline
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Contents:
    """The actions behind the names of the steps that fill a workspace, on the ports they need."""

    store: Store
    provider: WorkspaceProvider
    workbench: Workbench
    project_files: ProjectFiles
    bundles: Bundles
    forwards: Forwards
    clock: Clock
    policy: Policy

    def actions(self) -> Mapping[StepName, Action]:
        """Which action belongs to which name."""
        return {
            StepName.CLONE_REPOSITORY: self.clone_repository,
            StepName.RUN_SETUP: self.run_setup,
            StepName.START_SERVICES: self.start_services,
            StepName.FORWARD_PORTS: self.forward_ports,
        }

    async def clone_repository(self, workspace: Workspace, operation: Operation) -> NothingToDo | None:
        """Have the repository in place, and what it says about itself in the records."""
        repository = workspace.repository
        if repository is None:
            return NothingToDo()
        recipe, _ = self._content(workspace)
        checkout = await self._clone(workspace, repository, recipe.credentials, operation)
        self.bundles.remove(workspace.id)
        cloned = replace(repository, branch=checkout.branch or repository.branch, commit=checkout.commit)

        def is_cloned(latest: Workspace) -> Workspace:
            # With what is stored beside it, so that no crash comes between: the credentials are not needed any more.
            provisioned = latest.provisioned | {str(StepName.CLONE_REPOSITORY)}
            return replace(latest, repository=cloned, provisioned=provisioned)

        await self._take_in_file(workspace, replace(recipe, credentials=Credentials()), is_cloned)
        return None

    async def run_setup(self, workspace: Workspace, operation: Operation) -> NothingToDo | None:
        """Run the scripts that prepare the repository, each once in the workspace's life."""
        await self._read_again(workspace, operation)
        recipe, _ = self._content(workspace)
        if not recipe.setup:
            return NothingToDo()
        await self.workbench.run_setup(workspace.container_id, recipe, self._run(operation, StepName.RUN_SETUP))
        return None

    async def start_services(self, workspace: Workspace, operation: Operation) -> NothingToDo | None:
        """Have every service up and healthy, each after all it depends on."""
        await self._read_again(workspace, operation)
        recipe, services = self._content(workspace)
        if not (services or recipe.goes_with_services):
            if operation.kind is OperationKind.START and workspace.repository is not None:
                # There may have been some before its file was changed.
                await self.workbench.install(workspace.container_id, [], recipe)
            return NothingToDo()
        await self.workbench.install(workspace.container_id, [one.spec for one in services], recipe)
        start = ServiceStart(
            store=self.store,
            workbench=self.workbench,
            clock=self.clock,
            workspace=workspace,
            services=services,
        )
        await start(self._run(operation, StepName.START_SERVICES))
        return None

    async def forward_ports(self, workspace: Workspace, operation: Operation) -> NothingToDo | None:
        """Lead a host port to each exposed service."""
        _, services = self._content(workspace)
        wanted = [one for one in services if one.wants_forward]
        if not wanted:
            return NothingToDo()
        for service in wanted:
            await self.forwards.open(workspace, service.name)
        return None

    async def _clone(
        self, workspace: Workspace, repository: Repository, credentials: Credentials, operation: Operation
    ) -> Checkout:
        run = self._run(operation, StepName.CLONE_REPOSITORY)
        waited = 0.0
        while True:
            source = Source(repository, credentials, self.bundles.path_of(workspace.id))
            try:
                return await self.workbench.clone(workspace.container_id, source, run)
            except BundleMissing:
                while self.bundles.path_of(workspace.id) is None:
                    if waited >= self.policy.bundle_wait:
                        raise
                    await self.clock.sleep(_PAUSE)
                    waited += _PAUSE

    async def _read_again(self, workspace: Workspace, operation: Operation) -> None:
        """Take in what the repository's file says by now: whoever has mended it starts the workspace again."""
        if operation.kind is OperationKind.START and workspace.repository is not None:
            recipe, _ = self._content(workspace)
            await self._take_in_file(workspace, recipe, lambda latest: latest)

    async def _take_in_file(self, workspace: Workspace, recipe: Recipe, edit: Edit) -> None:
        """Store the recipe and the workspace's edit, with what the repository's file says if it counts."""
        if recipe.asked.services:
            self._keep(workspace, recipe, edit)
            return
        files = await self.workbench.read_files(workspace.container_id, self.project_files.paths)
        config = self.project_files.understand(files) or ProjectConfig("nothing")
        resources = await self._resize(workspace, config, recipe)
        notes = (*config.notes, *_image_note(workspace, config))

        def described(latest: Workspace) -> Workspace:
            fresh = tuple(note for note in notes if note not in latest.notes)
            return replace(edit(latest), resources=resources, notes=(*latest.notes, *fresh))

        said = replace(
            recipe,
            setup=(*(recipe.asked.setup or config.setup), *config.pre_start),
            post_start=config.post_start,
            pre_stop=config.pre_stop,
            env=config.env,
        )
        self._keep(workspace, said, described, config.services)

    async def _resize(self, workspace: Workspace, config: ProjectConfig, recipe: Recipe) -> Resources:
        """The workspace's resources with what the file asks for and the request did not, in force."""
        named = {"cpu": config.cpu, "memory": config.memory, "disk": config.disk}
        wanted: dict[str, Any] = {
            name: value for name, value in named.items() if value is not None and name not in recipe.asked.resources
        }
        try:
            resources = replace(workspace.resources, **wanted)
        except InvalidRequest as exc:
            raise InvalidConfig(f"{config.source} asks for resources that cannot be had", why=exc.message) from exc
        if resources != workspace.resources:
            await self.provider.resize(workspace.container_id, resources)
        return resources

    def _keep(
        self, workspace: Workspace, recipe: Recipe, edit: Edit, services: Sequence[ServiceSpec] | None = None
    ) -> None:
        """Store all that is known now at once; the host ports of services that are gone are given back."""
        now = self.clock.now()
        with self.store.transaction() as records:
            if services is not None:
                present = {one.name: one for one in records.services.of_workspace(workspace.id)}
                latest = [_as_it_is(Service(workspace.id, spec, now), present) for spec in services]
                records.services.replace(workspace.id, latest)
                kept = {one.mapped_port for one in latest}
                for lease in records.leases.of_workspace(workspace.id):
                    if lease.kind is PortKind.SERVICE and lease.port not in kept:
                        records.leases.release(workspace.id, now, port=lease.port)
            records.recipes.set(workspace.id, recipe)
            before = records.workspaces.get(workspace.id) or workspace
            after = edit(before)
            if after != before:
                records.workspaces.update(replace(after, updated_at=now))

    def _content(self, workspace: Workspace) -> tuple[Recipe, list[Service]]:
        with self.store.snapshot() as records:
            return records.recipes.get(workspace.id), list(records.services.of_workspace(workspace.id))

    def _run(self, operation: Operation, step: StepName) -> Run:
        return Run(operation.id, max(1.0, self.policy.deadlines[step] - _SLACK))


def _image_note(workspace: Workspace, config: ProjectConfig) -> tuple[str, ...]:
    if config.image in (None, workspace.image):
        return ()
    says = f"{config.source} names the image {config.image}; this workspace runs on {workspace.image}."
    return (f"{says} An image is chosen when a workspace is created (`image`).",)


def _as_it_is(service: Service, present: Mapping[str, Service]) -> Service:
    """The service as it fares at present, if nothing was changed about it but whether it is exposed."""
    known = present.get(service.name)
    if known is None or replace(known.spec, expose=service.spec.expose) != service.spec:
        return service
    return known
