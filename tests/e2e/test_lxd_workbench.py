"""The workbench inside real containers: the contract."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from git_daemon import git_daemon

import git_servers
from contracts.provider_contract import specs_of
from contracts.workbench_contract import WorkbenchContract, WorkbenchStage
from nexus_core.domain.service import CheckType, HealthCheck, ServiceSpec
from nexus_lxd.instances import SERVER
from nexus_lxd.provider import LxdProvider
from nexus_systemd import SystemdWorkbench

pytestmark = pytest.mark.lxd

Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by
FILES = {"settings.yaml": "answer: 42\n"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = git_servers.repository(tmp_path_factory.mktemp("git") / "project", FILES)
    git_servers.git(repository, "branch", "other")
    return repository


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with git_daemon(repository.parent) as address:
        yield f"{address}/project"


@pytest.fixture(scope="module")
def own_id(lxd: Lxd, server_id: str) -> Iterator[str]:
    own_id = f"{server_id}-workbench"
    yield own_id
    lxd.sweep(own_id.__eq__, SERVER)


@pytest.fixture(scope="module")
def stopped(own_id: str) -> str:
    """An instance that never ran, for all tests: nothing can be done to it."""
    spec = specs_of(_image())()

    async def make() -> None:
        provider = LxdProvider(server_id=own_id)
        await provider.create(spec)
        await provider.close()

    asyncio.run(make())
    return spec.name


def _image() -> str:
    return os.environ.get("NEXUS_TEST_IMAGE", "nexus-base")


_PORTS = count(7000)


def healthy(name: str, *needs: str) -> ServiceSpec:
    port = next(_PORTS)
    command = f"echo hello from {name}; exec python3 -m http.server --bind 127.0.0.1 {port}"
    return ServiceSpec(name, command, port, needs, health_check=HealthCheck(CheckType.TCP))


def crashing(name: str, *needs: str) -> ServiceSpec:
    return ServiceSpec(name, "exit 3", depends_on=needs)


def sick(name: str, *needs: str) -> ServiceSpec:
    check = HealthCheck(CheckType.EXEC, command="exit 1", interval=0.5, retries=2)
    return ServiceSpec(name, "exec sleep 1000", depends_on=needs, health_check=check)


def finishing(name: str, *needs: str) -> ServiceSpec:
    return ServiceSpec(name, "true", depends_on=needs)


async def _start(provider: LxdProvider, instance: str) -> None:
    """Have it run, and systemd inside it answer, as it does when a workspace's SSH server was reached."""
    await provider.start(instance)
    patient = "until systemctl is-active --quiet basic.target; do sleep 0.02; done"
    await provider.interior.run(instance, ["sh", "-c", patient], within=20)


class TestPromises(WorkbenchContract):
    @pytest.fixture
    async def stage(self, own_id: str, stopped: str, repository: Path, address: str) -> AsyncIterator[WorkbenchStage]:
        provider = LxdProvider(server_id=own_id)
        instance = (await provider.create(specs_of(_image())())).name
        await _start(provider, instance)

        async def reboot() -> None:
            await provider.stop(instance, grace=10)
            await _start(provider, instance)

        commit = git_servers.git(repository, "rev-parse", "HEAD")
        yield WorkbenchStage(
            workbench=SystemdWorkbench(provider.interior),
            instance=instance,
            stopped=stopped,
            url=address,
            branches={"main": commit, "other": commit},
            files=FILES,
            healthy=healthy,
            crashing=crashing,
            sick=sick,
            finishing=finishing,
            reboot=reboot,
        )
        await provider.delete(instance)
        await provider.close()
