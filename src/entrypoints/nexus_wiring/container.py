"""Which adapter stands behind which port: the only module that names them all."""

from __future__ import annotations

from dependency_injector import containers, providers

from nexus_config import RepositoryFiles
from nexus_core.nexus import Nexus
from nexus_host.bundles import FolderBundles
from nexus_host.clock import SystemClock
from nexus_host.death import DeathAt
from nexus_host.ids import RandomIds
from nexus_lxd.provider import LxdProvider
from nexus_nftables.publisher import NftablesPublisher
from nexus_prometheus import PrometheusMeters
from nexus_sqlite.store import SqliteStore
from nexus_ssh.keys import AsyncsshKeys
from nexus_ssh.probe import AsyncsshProbe
from nexus_systemd import SystemdWorkbench
from nexus_wiring.settings import Settings
from nexus_wiring.state import StateDirectory


class Container(containers.DeclarativeContainer):
    """Everything a server needs, made when first asked for.

    ``Container(settings=providers.Object(settings))``; any part can be exchanged with
    ``container.provider.override(…)`` before `nexus` is asked for.
    """

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)

    state: providers.Singleton[StateDirectory] = providers.Singleton(StateDirectory, settings.provided.state_path)
    clock: providers.Singleton[SystemClock] = providers.Singleton(SystemClock)
    ids: providers.Singleton[RandomIds] = providers.Singleton(RandomIds)
    keys: providers.Singleton[AsyncsshKeys] = providers.Singleton(AsyncsshKeys)
    probe: providers.Singleton[AsyncsshProbe] = providers.Singleton(AsyncsshProbe)
    store: providers.Singleton[SqliteStore] = providers.Singleton(
        SqliteStore.open, state.provided.database, key=state.provided.database_key.call()
    )
    publisher: providers.Singleton[NftablesPublisher] = providers.Singleton(
        NftablesPublisher, server_id=store.provided.server_id, bridge=settings.provided.lxd_bridge
    )
    provider: providers.Singleton[LxdProvider] = providers.Singleton(
        LxdProvider,
        server_id=store.provided.server_id,
        endpoint=settings.provided.lxd_endpoint,
        client_cert=settings.provided.lxd_client_cert,
        client_key=settings.provided.lxd_client_key,
        server_cert=settings.provided.lxd_server_cert,
        project=settings.provided.lxd_project,
        remotes=settings.provided.image_servers,
    )
    workbench: providers.Singleton[SystemdWorkbench] = providers.Singleton(
        SystemdWorkbench, interior=provider.provided.interior
    )
    project_files: providers.Singleton[RepositoryFiles] = providers.Singleton(
        RepositoryFiles, provider=provider.provided.kind
    )
    bundles: providers.Singleton[FolderBundles] = providers.Singleton(FolderBundles, state.provided.bundles)
    meters: providers.Singleton[PrometheusMeters] = providers.Singleton(PrometheusMeters)
    passing: providers.Singleton[DeathAt] = providers.Singleton(DeathAt, settings.provided.die_at)
    nexus: providers.Singleton[Nexus] = providers.Singleton(
        Nexus,
        store=store,
        provider=provider,
        publisher=publisher,
        keys=keys,
        probe=probe,
        workbench=workbench,
        project_files=project_files,
        bundles=bundles,
        clock=clock,
        ids=ids,
        policy=settings.provided.policy.call(),
        meters=meters,
        passing=passing,
    )
