"""Everything there is to examine, put together: with a server running or not, with LXD and a database or without."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from dependency_injector import providers

from nexus_core.errors import NexusError
from nexus_core.ports.examiner import Examiner
from nexus_core.usecases.compare_ports import ComparePorts
from nexus_core.usecases.compare_workspaces import CompareWorkspaces
from nexus_core.usecases.comparison import Sides
from nexus_core.usecases.examine import Diagnosis, Examine
from nexus_host.limits import HostExaminer
from nexus_host.running_server import RunningServer, ServerExaminer
from nexus_lxd.connection import Connection
from nexus_lxd.examination import LxdExaminer
from nexus_nftables.examination import NftablesExaminer
from nexus_sqlite.as_found import RecordsAsFound
from nexus_sqlite.examination import SqliteExaminer
from nexus_wiring.container import Container
from nexus_wiring.state import StateDirectory


async def diagnose(container: Container, *, mend: bool) -> Diagnosis:
    """How everything fares that a server of these parts stands on; with ``mend``, after mending what is safe.

    Nothing is written and no lock is taken without ``mend``; with it, no server can start meanwhile.
    """
    settings, state, clock = container.settings(), container.state(), container.clock()
    server = RunningServer(state.lock_file)
    records = _records(state)
    async with AsyncExitStack() as opened:
        server_id = None if records is None else records.server_id
        connection = Connection(
            endpoint=settings.lxd_endpoint,
            client_cert=_path(settings.lxd_client_cert),
            client_key=_path(settings.lxd_client_key),
            server_cert=_path(settings.lxd_server_cert),
            project=settings.lxd_project,
            workers=2,
        )
        opened.push_async_callback(connection.close)
        lxd = LxdExaminer(
            connection,
            server_id=server_id,
            endpoint=settings.lxd_endpoint,
            bridge=settings.lxd_bridge,
            image=settings.default_image,
            remotes=settings.image_servers,
            clock=clock,
        )
        examiners: list[Examiner] = [
            ServerExaminer(server=server, address=settings.address),
            HostExaminer(clock=clock, written=(state.database, state.admin_token, state.key_file)),
            lxd,
            NftablesExaminer(
                server_id=server_id,
                bridge=settings.lxd_bridge,
                addresses=lxd.addresses,
                is_served=server.is_there,
            ),
            SqliteExaminer(state.database, key=state.present_key, private=(state.admin_token, state.key_file)),
        ]
        if records is not None:
            # From here on, the parts of a server are those of this one, as far as they only ask for its mark.
            container.store.override(providers.Object(records))
            provider = container.provider()
            opened.push_async_callback(provider.close)
            sides = Sides(records, provider, container.publisher(), clock, settings.policy(), server.is_there)
            examiners += [CompareWorkspaces(sides, lxc=f"lxc --project {settings.lxd_project}"), ComparePorts(sides)]
        if mend:
            opened.enter_context(server.kept_away())
        return await Examine(examiners=examiners, clock=clock)(mend=mend)


def _records(state: StateDirectory) -> RecordsAsFound | None:
    """What a server here remembers; None where that cannot be read, which the database's examiner tells of."""
    try:
        return RecordsAsFound(state.database, key=state.present_key())
    except NexusError:
        return None


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
