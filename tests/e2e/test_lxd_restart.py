"""What becomes of workspaces when LXD itself is killed or restarted: a second daemon is made for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from contracts.provider_contract import specs_of
from nexus_core.errors import ProviderUnavailable
from nexus_core.ports.provider import InstanceState
from nexus_lxd.instances import FINISHED
from nexus_lxd.provider import LxdProvider

pytestmark = pytest.mark.lxd

Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by
PRESEED = """
storage_pools:
- {{name: nexus, driver: btrfs, config: {{size: 3GiB}}}}
networks:
- name: {bridge}
  type: bridge
  config: {{ipv4.address: {gateway}/24, ipv4.nat: "false", ipv6.address: none}}
projects:
- {{name: nexus, config: {{features.images: "false"}}}}
"""


class Daemon:
    """An LXD of this test's own, in a folder of its own, beside the one of the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bridge = f"nxt{os.getpid()}"
        self._environment = {**os.environ, "LXD_DIR": str(folder), "LXD_CONF": str(folder / "client")}
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str | Path, stdin: str = "") -> str:
        """The output of a command that speaks to this daemon."""
        done = subprocess.run(
            command, env=self._environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder.with_suffix(".log")
        self._process = subprocess.Popen(
            ["lxd", "--group", "root", "--logfile", log],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.run("lxd", "waitready", "--timeout", "60")

    def kill(self) -> None:
        """Kill it without a warning."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def shut_down(self) -> None:
        """Let it stop its instances and end, as the machine's shutdown or a restart of its service does."""
        assert self._process
        self.run("lxd", "shutdown", "--timeout", "60")
        self._process.wait(60)

    def set_up(self, export: Path) -> None:
        """Pool, bridge, project and base image."""
        gateway = f"10.{200 + os.getpid() % 13}.{os.getpid() % 251}.1"
        self.run("lxd", "init", "--preseed", stdin=PRESEED.format(bridge=self.bridge, gateway=gateway))
        profile = ("lxc", "profile", "device", "add", "local:default")
        self.run(*profile, "root", "disk", "path=/", "pool=nexus", "--project", "nexus")
        self.run(*profile, "eth0", "nic", f"network={self.bridge}", "name=eth0", "--project", "nexus")
        parts = sorted(export.iterdir(), key=lambda part: part.stat().st_size)
        self.run("lxc", "image", "import", *parts, "local:", "--alias", "nexus-base")

    def tear_down(self) -> None:
        """End it and leave nothing of it."""
        assert self._process
        if self._process.poll() is not None:
            self.start()
        projects = self.run("lxc", "project", "list", "local:", "-f", "csv").splitlines()
        for project in [name for line in projects if (name := line.partition(",")[0]).startswith("nexus")]:
            for name in self.run("lxc", "list", "local:", "--project", project, "-f", "csv", "-c", "n").split():
                self.run("lxc", "delete", "--force", f"local:{name}", "--project", project)
            self.run("lxc", "project", "delete", f"local:{project}")
        self.run("lxc", "image", "delete", "local:nexus-base")
        self.run("lxc", "network", "delete", f"local:{self.bridge}")
        self.run("lxc", "storage", "delete", "local:nexus")
        self.shut_down()


@pytest.fixture
def daemon(lxd: Lxd) -> Generator[Daemon]:
    del lxd  # that there is one shows that this machine can run another
    folder = Path(tempfile.mkdtemp(prefix="nxlxd"))  # short: a socket's path has 107 characters at most
    export = folder.with_name(f"{folder.name}-image")
    export.mkdir()
    daemon = Daemon(folder)
    try:
        subprocess.run(["lxc", "image", "export", "local:nexus-base", export], check=True, capture_output=True)
        daemon.start()
        try:
            daemon.set_up(export)
            yield daemon
        finally:
            daemon.tear_down()
    finally:
        for line in Path("/proc/self/mounts").read_text().splitlines()[::-1]:
            if line.split()[1].startswith(f"{folder}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        for left in (folder, export):
            shutil.rmtree(left, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Return when what is awaited has become true."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(ProviderUnavailable):
                if await condition():
                    return
            await asyncio.sleep(0.1)


async def test_workspaces_survive_lxds_death_and_come_back_by_themselves_after_its_restart(daemon: Daemon) -> None:
    provider = LxdProvider(server_id="restart", endpoint=str(daemon.folder / "unix.socket"))
    make = specs_of("nexus-base")
    running, stopped = make(), make()
    loop = asyncio.get_running_loop()

    async def is_running() -> bool:
        return (await provider.observe(running.name)).state is InstanceState.RUNNING

    def pid() -> str:
        info = daemon.run("lxc", "info", f"local:{running.name}", "--project", "nexus")
        return next(line for line in info.splitlines() if line.startswith("PID"))

    try:
        await provider.create(running)
        await provider.create(stopped)
        address = (await provider.start(running.name)).address
        first_pid = await loop.run_in_executor(None, pid)

        daemon.kill()
        assert not (await provider.status()).available
        with pytest.raises(ProviderUnavailable):
            await provider.observe(running.name)
        await loop.run_in_executor(None, daemon.start)
        await until(is_running)
        # The very same processes: LXD's death is no business of theirs.
        assert await loop.run_in_executor(None, pid) == first_pid

        await loop.run_in_executor(None, daemon.shut_down)
        assert not (await provider.status()).available
        await loop.run_in_executor(None, daemon.start)
        await until(is_running)
        assert (await provider.observe(running.name)).address == address
        # And only what was running.
        assert (await provider.observe(stopped.name)).state is InstanceState.STOPPED
        listed = daemon.run("lxc", "list", "local:", "--project", "nexus-stencils", "-f", "csv", "-c", f"s,{FINISHED}")
        assert listed.splitlines() == ["STOPPED,1"]
        await provider.delete(running.name)
        await provider.delete(stopped.name)
    finally:
        await provider.close()
