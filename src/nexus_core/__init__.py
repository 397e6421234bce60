"""Nexus's core: what a workspace is, how it is brought about, and what is needed for that.

Standard library only. It is driven through `Nexus`, which is put together from adapters; here from
the public fakes and a store in memory::

    >>> import asyncio
    >>> from nexus_core import Caller, Nexus, Registration, WorkspaceRequest
    >>> from nexus_fakes import FakeBundles, FakeClock, FakeIds, FakeKeys, FakeProbe, FakeProjectFiles
    >>> from nexus_fakes import FakeProvider, FakePublisher, FakeWorkbench
    >>> from nexus_sqlite.store import SqliteStore

    >>> async def main():
    ...     provider, publisher = FakeProvider(), FakePublisher()
    ...     nexus = Nexus(
    ...         store=SqliteStore.in_memory(), provider=provider, publisher=publisher,
    ...         keys=FakeKeys(), probe=FakeProbe(publisher), workbench=FakeWorkbench(provider),
    ...         project_files=FakeProjectFiles(), bundles=FakeBundles(), clock=FakeClock(), ids=FakeIds(),
    ...     )
    ...     admin = Caller(user=None)
    ...     async with nexus:
    ...         alice = nexus.register_user(admin, Registration(
    ...             github_username="alice", github_id=1, ssh_pubkey=FakeKeys.sample("alice").text))
    ...         caller = Caller(user=alice)
    ...         accepted = await nexus.create_workspace(caller, WorkspaceRequest(workspace_name="web"))
    ...         print(accepted.workspace.status)
    ...         await nexus.engine.idle()
    ...         view = nexus.show_workspace(caller, accepted.workspace.id)
    ...         print(view.workspace.status, "on port", view.workspace.ssh_port)
    ...         print(*(f"{step.name} {step.status}" for step in view.operation.steps[:4]), sep=", ")

    >>> asyncio.run(main())
    creating
    running on port 2222
    create_instance done, publish_ssh done, start_instance done, wait_for_ssh done

An adapter implements one of the classes in `nexus_core.ports`; docs/how-to/write-an-adapter.md
shows how, and ``tests/contracts`` holds what each must promise.
"""

from __future__ import annotations

from nexus_core.domain.user import Caller
from nexus_core.errors import NexusError
from nexus_core.nexus import Nexus
from nexus_core.policy import Policy
from nexus_core.usecases.create_workspace import WorkspaceRequest
from nexus_core.usecases.register_user import Registration

__all__ = ["Caller", "Nexus", "NexusError", "Policy", "Registration", "WorkspaceRequest"]
