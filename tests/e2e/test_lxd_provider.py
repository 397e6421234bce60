"""The LXD provider against a real LXD: the contract, and what only containers have."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import pytest

from contracts.provider_contract import MakeSpec, ProviderContract, new_host_key, specs_of
from nexus_core.domain.resources import Resources
from nexus_core.domain.user import PublicKey
from nexus_core.errors import InstanceMissing, ProviderFailed, ProviderUnavailable
from nexus_core.ports.provider import InstanceSpec, InstanceState, WorkspaceProvider
from nexus_lxd.instances import FINISHED, SERVER, STENCIL, WORKSPACE
from nexus_lxd.network import hwaddr
from nexus_lxd.provider import LxdProvider

pytestmark = pytest.mark.lxd

T = TypeVar("T")
Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by
MIB = 1024**2


@pytest.fixture(scope="session")
def image() -> str:
    return os.environ.get("NEXUS_TEST_IMAGE", "nexus-base")


@pytest.fixture
def spec(image: str) -> MakeSpec:
    return specs_of(image)


@pytest.fixture
async def provider(lxd: Lxd, server_id: str) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id=server_id)
    yield provider
    await provider.close()
    lxd.sweep(server_id.__eq__, SERVER)


@pytest.fixture
async def neighbour(lxd: Lxd, server_id: str) -> AsyncIterator[LxdProvider]:
    neighbours_id = f"{server_id}-neighbour"
    provider = LxdProvider(server_id=neighbours_id)
    yield provider
    await provider.close()
    lxd.sweep(neighbours_id.__eq__, SERVER)


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id="away", endpoint=str(tmp_path / "unix.socket"))
    yield provider
    await provider.close()


class Login:
    """A user with a key, who logs into instances."""

    def __init__(self, folder: Path) -> None:
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._folder = folder
        self.public = PublicKey(
            " ".join(self._key.export_public_key().decode().split()[:2]), self._key.get_fingerprint()
        )

    def connect(self, address: str | None, spec: InstanceSpec) -> Any:
        """A connection to ``dev``, made only if the host proves to have the workspace's own key."""
        assert address
        known = self._folder / "known_hosts"
        known.write_text(f"{address} {spec.host_key.public.text}\n")
        return asyncssh.connect(
            address, username="dev", client_keys=[self._key], known_hosts=str(known), config=None, agent_path=None
        )

    async def run(self, address: str | None, spec: InstanceSpec, command: str) -> str:
        """The output of a command, as soon as the SSH server is up."""
        for _ in range(400):
            try:
                async with self.connect(address, spec) as connection:
                    done = await connection.run(command, check=True)
                    return str(done.stdout)
            except (OSError, asyncssh.ConnectionLost):
                await asyncio.sleep(0.025)
        raise AssertionError("sshd did not come up")


@pytest.fixture
def login(tmp_path: Path) -> Login:
    return Login(tmp_path)


class TestLxdProvider(ProviderContract):
    @pytest.fixture(autouse=True)
    def reader(self, lxd: Lxd) -> None:
        self.lxd = lxd

    async def authorized_keys(self, provider: WorkspaceProvider, name: str) -> list[str]:
        del provider
        return str(self.lxd.read(name, "/home/dev/.ssh/authorized_keys")).splitlines()

    async def freeze(self, provider: WorkspaceProvider, name: str) -> None:
        del provider
        self.lxd.finish(self.lxd.api.instances[name].state.put(json={"action": "freeze"}))


class TestInside:
    """What the owner of a workspace finds when it logs in."""

    async def test_keys_names_network_and_limits(
        self, provider: LxdProvider, lxd: Lxd, spec: MakeSpec, login: Login
    ) -> None:
        resources = Resources(cpu=1, memory="256MiB", disk="3GiB")
        wanted = spec(authorized_key=login.public, hostname="my-project", resources=resources)
        await provider.create(wanted)
        address = (await provider.start(wanted.name)).address

        assert (await login.run(address, wanted, "hostname; nproc")).split() == ["my-project", "1"]
        assert f"inet {address}/" in await login.run(address, wanted, "ip address show eth0")
        assert "eth0" in await login.run(address, wanted, "ip route show default")
        files = await login.run(
            address,
            wanted,
            "sudo cat /etc/ssh/ssh_host_ed25519_key; sudo stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key;"
            " stat -c '%a %U:%G' ~/.ssh ~/.ssh/authorized_keys; ls /etc/ssh/ssh_host_*_key",
        )
        assert files == (
            f"{wanted.host_key.private}600 root\n700 dev:dev\n600 dev:dev\n/etc/ssh/ssh_host_ed25519_key\n"
        )
        # Root inside is nobody in particular outside.
        uid_map = (await login.run(address, wanted, "cat /proc/self/uid_map")).split()
        assert uid_map[0] == "0"
        assert int(uid_map[1]) >= 100_000

        config = lxd.instance(wanted.name)["config"]
        assert config["limits.memory"] == str(256 * MIB)
        assert int(config["limits.processes"]) > 1000
        assert config["security.privileged"] == config["security.nesting"] == "false"
        assert wanted.host_key.private not in str(lxd.instance(wanted.name))

    async def test_memory_and_disk_end_where_the_resources_say(
        self, provider: LxdProvider, spec: MakeSpec, login: Login
    ) -> None:
        wanted = spec(authorized_key=login.public, resources=Resources(cpu=1, memory="256MiB", disk="1GiB"))
        await provider.create(wanted)
        address = (await provider.start(wanted.name)).address
        hog = "python3 -c 'x = bytearray(400 << 20)' && echo fits || echo killed"
        assert await login.run(address, wanted, hog) == "killed\n"
        fill = (
            "dd if=/dev/urandom of=big bs=1M count=1200 2>&1 | grep -o 'No space\\|quota exceeded' | head -n 1; rm big"
        )
        assert (await login.run(address, wanted, fill)).strip()

    async def test_new_limits_hold_at_once(self, provider: LxdProvider, lxd: Lxd, spec: MakeSpec) -> None:
        wanted = spec(resources=Resources(cpu=1, memory="512MiB", disk="2GiB"))
        await provider.create(wanted)
        await provider.start(wanted.name)

        await provider.resize(wanted.name, Resources(cpu=2, memory="256MiB", disk="1GiB"))

        memory = await provider.interior.run(wanted.name, ["grep", "MemTotal", "/proc/meminfo"], within=10)
        assert memory.output.split()[1] == str(256 * 1024)
        # Which cores these are, LXD works out a moment after it has answered.
        wait = "for i in $(seq 100); do [ $(nproc) = 2 ] && exit; sleep 0.05; done; exit 1"
        assert (await provider.interior.run(wanted.name, ["sh", "-c", wait], within=10)).exit_code == 0
        fill = "dd if=/dev/urandom of=/root/big bs=1M count=1200"
        filled = await provider.interior.run(wanted.name, ["sh", "-c", fill], within=60)
        assert filled.exit_code != 0
        assert "No space" in filled.output or "quota exceeded" in filled.output
        devices = lxd.instance(wanted.name)["devices"]
        assert devices["root"] == {
            "type": "disk",
            "path": "/",
            "pool": devices["root"]["pool"],
            "size": str(1024 * MIB),
        }
        assert devices["eth0"]["ipv4.address"]

    async def test_sessions_are_closed_when_it_stops(self, provider: LxdProvider, spec: MakeSpec, login: Login) -> None:
        wanted = spec(authorized_key=login.public)
        await provider.create(wanted)
        for grace in (0, 10):
            address = (await provider.start(wanted.name)).address
            await login.run(address, wanted, "true")
            async with login.connect(address, wanted) as connection:
                session = asyncio.create_task(connection.run("sleep 600"))
                await asyncio.sleep(0.1)
                await provider.stop(wanted.name, grace=grace)
                await asyncio.wait_for(asyncio.gather(session, return_exceptions=True), 5)
                await asyncio.wait_for(connection.wait_closed(), 5)

    async def test_the_new_key_opens_and_the_old_one_does_not(
        self, provider: LxdProvider, spec: MakeSpec, login: Login, tmp_path: Path
    ) -> None:
        old, wanted = Login(tmp_path), spec(authorized_key=login.public)
        await provider.create(spec(name=wanted.name, workspace_id=wanted.workspace_id, authorized_key=old.public))
        await provider.create(wanted)
        address = (await provider.start(wanted.name)).address
        await login.run(address, wanted, "true")
        await provider.authorize(wanted.name, old.public)
        await old.run(address, wanted, "true")
        with pytest.raises(asyncssh.PermissionDenied):
            await login.run(address, wanted, "true")

    async def test_workspaces_do_not_reach_each_other_and_cannot_reach_each_other(
        self, provider: LxdProvider, spec: MakeSpec, login: Login
    ) -> None:
        mine, other = spec(authorized_key=login.public), spec(authorized_key=login.public)
        addresses: list[str | None] = []
        for one in (mine, other):
            await provider.create(one)
            addresses.append((await provider.start(one.name)).address)
            await login.run(addresses[-1], one, "true")
        knock = f"timeout 1 bash -c '</dev/tcp/{addresses[1]}/22' && echo open || echo closed"
        assert await login.run(addresses[0], mine, knock) == "closed\n"


class TestBeside:
    """What an administrator of LXD sees."""

    async def test_marks_address_and_restart_behaviour(
        self, provider: LxdProvider, lxd: Lxd, spec: MakeSpec, server_id: str
    ) -> None:
        wanted = spec()
        made = await provider.create(wanted)
        record = lxd.instance(wanted.name)
        config, nic = record["config"], record["devices"]["eth0"]
        assert (config[SERVER], config[WORKSPACE]) == (server_id, wanted.workspace_id)
        assert config["user.nexus.address"].partition("/")[0] == nic["ipv4.address"] == made.address
        assert made.address
        assert nic["hwaddr"] == hwaddr(IPv4Address(made.address))
        assert record["devices"]["root"]["size"] == str(wanted.resources.disk_bytes)
        # Unset, so that LXD brings back after its own restart what was running.
        assert "boot.autostart" not in config
        assert not {key for key in config if "stencil" in key or key == "raw.lxc"}
        await provider.start(wanted.name)
        assert lxd.instance(wanted.name)["config"]["volatile.last_state.power"] == "RUNNING"

    async def test_an_instance_without_any_mark_is_left_alone(
        self, provider: LxdProvider, lxd: Lxd, spec: MakeSpec, image: str
    ) -> None:
        wanted = spec()
        source = {"type": "image", "alias": image}
        lxd.finish(lxd.api.instances.post(json={"name": wanted.name, "source": source}))
        try:
            assert (await provider.observe(wanted.name)).state is InstanceState.ABSENT
            await provider.delete(wanted.name)
            await provider.stop(wanted.name, grace=0)
            with pytest.raises(InstanceMissing):
                await provider.start(wanted.name)
            with pytest.raises(ProviderFailed, match="mark"):
                await provider.create(wanted)
            assert lxd.instance(wanted.name)["status"] == "Stopped"
        finally:
            lxd.remove(wanted.name)

    async def test_an_address_taken_meanwhile_is_noticed(
        self, provider: LxdProvider, neighbour: LxdProvider, lxd: Lxd, spec: MakeSpec
    ) -> None:
        """Two servers that choose the same address, here made to by the same workspace id, end with different ones."""
        first = spec()
        second = spec(workspace_id=first.workspace_id)
        made = await asyncio.gather(provider.create(first), neighbour.create(second))
        assert made[0].address != made[1].address
        for one in made:
            record = lxd.instance(one.name)
            assert record["devices"]["eth0"]["ipv4.address"] == one.address
            assert record["config"]["user.nexus.address"].startswith(f"{one.address}/")
        await asyncio.gather(provider.start(first.name), neighbour.start(second.name))

    async def test_a_stencil_that_was_removed_is_made_again(
        self, provider: LxdProvider, neighbour: LxdProvider, stencils: Lxd, spec: MakeSpec, image: str
    ) -> None:
        fingerprint = stencils.alias(image)
        await provider.create(spec())
        stencils.sweep(fingerprint.__eq__, STENCIL)
        made = await asyncio.gather(provider.create(spec()), neighbour.create(spec()))
        assert [one.state for one in made] == [InstanceState.STOPPED] * 2
        kept = [one for one in stencils.instances() if one["config"].get(STENCIL) == fingerprint]
        assert [(one["status"], one["config"]["boot.autostart"]) for one in kept] == [("Stopped", "false")]

    async def test_a_stencil_that_was_left_half_done_is_made_again(
        self, provider: LxdProvider, lxd: Lxd, stencils: Lxd, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nexus_lxd.stencils._MAKING", timedelta(seconds=-1))
        await provider.create(spec())  # their project is there from now on
        provider._stencils.forget()
        fingerprint = lxd.alias("nexus-base")
        stencils.sweep(fingerprint.__eq__, STENCIL)
        name = f"nexus-stencil-{fingerprint[:12]}"
        root = {"root": lxd.api.profiles["default"].get().json()["metadata"]["devices"]["root"]}
        body = {
            "name": name,
            "profiles": [],
            "devices": root,
            "config": {STENCIL: fingerprint},
            "source": {"type": "image", "fingerprint": fingerprint},
        }
        stencils.finish(stencils.api.instances.post(json=body))
        await provider.create(spec())
        assert stencils.instance(name)["config"][FINISHED] == "1"

    async def test_eight_at_once(self, provider: LxdProvider, spec: MakeSpec) -> None:
        """More than LXD likes to be asked at a time: nothing fails for it."""
        specs = [spec() for _ in range(8)]
        made = await asyncio.gather(*(provider.create(one) for one in specs))
        assert len({one.address for one in made}) == len(specs)
        await asyncio.gather(*(provider.delete(one.name) for one in specs))
        assert await provider.instances() == []


async def test_a_daemon_that_hangs_is_away_within_five_seconds(tmp_path: Path) -> None:
    """It lets clients connect and never answers."""
    path = str(tmp_path / "unix.socket")
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(path)
        hung.listen()
        provider = LxdProvider(server_id="hung", endpoint=path)
        try:
            async with asyncio.timeout(5):
                status = await provider.status()
            assert not status.available
            assert "in time" in (status.error or "")
        finally:
            await provider.close()


def test_nothing_is_opened_by_construction() -> None:
    LxdProvider(server_id="x", endpoint="/nonexistent/socket")
    LxdProvider(server_id="x", endpoint="https://192.0.2.1:8443")


def test_ssh_keys_of_the_contract_are_real(tmp_path: Path) -> None:
    key = tmp_path / "key"
    pair = new_host_key()
    key.write_text(pair.private)
    key.chmod(0o600)
    done = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True)
    assert " ".join(done.stdout.split()[:2]) == pair.public.text


async def test_untrusted_or_missing_addresses_are_away() -> None:
    provider = LxdProvider(server_id="x", endpoint="https://127.0.0.1:1")
    try:
        with pytest.raises(ProviderUnavailable):
            await provider.instances()
    finally:
        await provider.close()
