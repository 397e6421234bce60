"""Inside a real LXD's containers: the contract, and what could go wrong only there."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from pathlib import Path
from socket import AF_INET
from typing import Any, TypeVar

import pytest
import uvloop

from contracts.interior_contract import InteriorContract, InteriorStage
from contracts.provider_contract import specs_of
from nexus_core.errors import InstanceStopped, ProviderFailed
from nexus_lxd.commands import ENVIRONMENT
from nexus_lxd.instances import SERVER
from nexus_lxd.interior import LxdInterior
from nexus_lxd.namespaces import Namespaces, NotPossible
from nexus_lxd.provider import LxdProvider

pytestmark = pytest.mark.lxd

T = TypeVar("T")
Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by

GREETER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello\\n")
    connection.close()
"""


def always(*_: str) -> bool:
    return True


def open_files() -> int:
    """How many this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def serve(interior: LxdInterior, name: str, address: str, port: int) -> None:
    """Leave a program behind that listens and greets."""
    script = 'setsid python3 -c "$0" "$@" >/dev/null 2>&1 &'
    await interior.run(name, ["sh", "-c", script, GREETER, address, str(port)], within=10)
    for _ in range(200):
        try:
            connected = await interior.connect(name, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.025)
        else:
            assert connected is not None
            connected[1].close()
            await connected[1].wait_closed()
            return
    raise AssertionError("the program does not come up")


async def finds(interior: LxdInterior, name: str, command: str) -> bool:
    """Whether a command of that text runs."""
    return (await interior.run(name, ["pgrep", "-xf", command], within=10)).exit_code == 0


@pytest.fixture(scope="module")
def own_id(server_id: str) -> str:
    return f"{server_id}-interior"


@pytest.fixture(scope="module")
def instances(lxd: Lxd, own_id: str) -> Generator[tuple[str, str, str, str]]:
    """A running one, a stopped one, a frozen one, and a running one of another server."""
    spec = specs_of(os.environ.get("NEXUS_TEST_IMAGE", "nexus-base"))
    specs = [spec() for _ in range(4)]

    async def make(server_id: str, which: list[int], started: list[int]) -> None:
        provider = LxdProvider(server_id=server_id)
        for each in which:
            await provider.create(specs[each])
        for each in started:
            await provider.start(specs[each].name)
        await provider.close()

    try:
        asyncio.run(make(own_id, [0, 1, 2], [0, 2]))
        asyncio.run(make(f"{own_id}-neighbour", [3], [3]))
        lxd.finish(lxd.api.instances[specs[2].name].state.put(json={"action": "freeze"}))
        yield specs[0].name, specs[1].name, specs[2].name, specs[3].name
    finally:
        lxd.sweep({own_id, f"{own_id}-neighbour"}.__contains__, SERVER)


@pytest.fixture
async def provider(own_id: str) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id=own_id)
    yield provider
    await provider.close()


@pytest.fixture
def interior(provider: LxdProvider) -> LxdInterior:
    return provider.interior


@pytest.fixture
def running(instances: tuple[str, str, str, str]) -> str:
    return instances[0]


class TestPromises(InteriorContract):
    @pytest.fixture
    async def stage(
        self, provider: LxdProvider, instances: tuple[str, str, str, str], tmp_path: Path
    ) -> AsyncIterator[InteriorStage]:
        away = LxdProvider(server_id="away", endpoint=str(tmp_path / "unix.socket"))
        yield InteriorStage(provider.interior, away.interior, *instances)
        await away.close()

    async def listen(self, stage: InteriorStage, address: str, port: int) -> None:
        assert isinstance(stage.interior, LxdInterior)
        await serve(stage.interior, stage.running, address, port)

    async def runs(self, stage: InteriorStage, command: str) -> bool:
        assert isinstance(stage.interior, LxdInterior)
        return await finds(stage.interior, stage.running, command)


class TestCommands:
    async def test_the_environment_is_fixed(self, interior: LxdInterior, running: str) -> None:
        output = (await interior.run(running, ["env"], within=10)).output
        found = dict(line.split("=", 1) for line in output.splitlines())
        assert found | ENVIRONMENT == found
        assert set(found) <= {*ENVIRONMENT, "USER", "container"}  # LXC's own

    async def test_all_that_came_of_a_command_is_killed_with_it(self, interior: LxdInterior, running: str) -> None:
        script = "sleep 64.25 & sh -c 'sleep 65.25 & wait' & wait"
        with pytest.raises(TimeoutError):
            await interior.run(running, ["sh", "-c", script], within=0.5)
        assert not await finds(interior, running, "sleep 64.25")
        assert not await finds(interior, running, "sleep 65.25")

    async def test_cancelled_at_whatever_moment_nothing_is_left(self, interior: LxdInterior, running: str) -> None:
        await interior.run(running, ["true"], within=10)
        before = open_files()
        for moment in range(0, 60, 4):
            call = asyncio.create_task(interior.run(running, ["sleep", "66.25"], within=60))
            await asyncio.sleep(moment / 1000)
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
        assert not await finds(interior, running, "sleep 66.25")
        assert open_files() <= before + 16  # a connection of each worker's for requests

    @pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
    def test_on_either_loop_nothing_leaks(
        self, own_id: str, running: str, run: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        complaints: list[dict[str, Any]] = []

        async def story() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            provider = LxdProvider(server_id=own_id)
            interior = provider.interior
            assert (await interior.run(running, ["echo", "x"], within=10)).output == "x\n"
            with pytest.raises(TimeoutError):
                await interior.run(running, ["sleep", "67.25"], within=0.2)
            stream = interior.stream(running, ["sh", "-c", "echo now; sleep 67.25"])
            assert await anext(stream) == b"now\n"
            await stream.aclose()
            taken = interior.stream(running, ["sleep", "67.25"])
            waiting = asyncio.ensure_future(anext(taken))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.wait({waiting})
            await serve(interior, running, "127.0.0.1", 4201)
            for _ in range(20):
                with pytest.raises(ConnectionRefusedError):
                    await interior.connect(running, 4202)
            await provider.close()

        run(asyncio.sleep(0))  # uvloop keeps a few files for good
        before = open_files()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(story())
            gc.collect()
        assert complaints == []
        assert [str(each.message) for each in caught] == []
        assert open_files() <= before

    async def test_a_command_takes_a_few_hundredths_of_a_second(self, interior: LxdInterior, running: str) -> None:
        took: list[float] = []
        for _ in range(10):
            began = time.perf_counter()
            await interior.run(running, ["true"], within=10)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.1


class TestFiles:
    async def test_a_pipe_is_no_file_and_keeps_nothing_from_stopping(self, provider: LxdProvider) -> None:
        """LXD's file server would never come back from opening one."""
        interior = provider.interior
        wanted = specs_of(os.environ.get("NEXUS_TEST_IMAGE", "nexus-base"))()
        await provider.create(wanted)
        await provider.start(wanted.name)
        await interior.run(wanted.name, ["mkfifo", "/root/pipe"], within=10)
        began = time.monotonic()
        with pytest.raises(ProviderFailed, match="not a file"):
            await interior.read(wanted.name, "/root/pipe", limit=10)
        await interior.upload(wanted.name, "/root/pipe", __file__)
        await interior.run(wanted.name, ["sh", "-c", "rm /root/pipe; mkfifo /root/pipe"], within=10)
        await interior.write(wanted.name, "/root/pipe", b"x" * 200_000)
        assert len(await interior.read(wanted.name, "/root/pipe", limit=200_000) or b"") == 200_000
        await provider.delete(wanted.name)
        assert time.monotonic() - began < 10

    async def test_links_are_followed_inside_and_replaced(self, provider: LxdProvider) -> None:
        interior = provider.interior
        wanted = specs_of(os.environ.get("NEXUS_TEST_IMAGE", "nexus-base"))()
        await provider.create(wanted)
        await provider.start(wanted.name)
        script = "cd /root; echo real >real; mkdir f; ln -s ../real f/one; ln -s /root/f/one two; ln -s three three"
        await interior.run(wanted.name, ["sh", "-c", script], within=10)
        for _ in range(2):
            assert await interior.read(wanted.name, "/root/two", limit=10) == b"real\n"
            assert (await interior.read(wanted.name, "/root/f/../real", limit=10)) == b"real\n"
            await provider.stop(wanted.name, grace=0)
        with pytest.raises(ProviderFailed, match="symlink"):
            await interior.read(wanted.name, "/root/three", limit=10)
        await interior.write(wanted.name, "/root/two", b"new")
        assert await interior.read(wanted.name, "/root/two", limit=10) == b"new"
        assert await interior.read(wanted.name, "/root/real", limit=10) == b"real\n"
        await provider.delete(wanted.name)

    async def test_a_large_file_passes_through_little_memory(
        self, interior: LxdInterior, running: str, tmp_path: Path
    ) -> None:
        source = tmp_path / "large"
        with source.open("wb") as file:
            file.truncate(300 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await interior.upload(running, "/root/large", str(source))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10  # in KiB
        done = await interior.run(running, ["stat", "-c", "%s", "/root/large"], within=10)
        assert done.output == f"{300 << 20}\n"

        call = asyncio.create_task(interior.upload(running, "/root/large", str(source)))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()
        assert time.monotonic() - began < 5
        await interior.run(running, ["rm", "-f", "/root/large"], within=10)


class TestConnecting:
    async def test_it_follows_the_instance_through_a_restart(self, provider: LxdProvider, running: str) -> None:
        interior = provider.interior
        await serve(interior, running, "127.0.0.1", 4301)
        await provider.stop(running, grace=0)
        with pytest.raises(InstanceStopped):
            await interior.connect(running, 4301)
        await provider.start(running)
        with pytest.raises(ConnectionRefusedError):
            await interior.connect(running, 4301)
        await serve(interior, running, "127.0.0.1", 4301)

    async def test_it_costs_next_to_nothing_and_asks_lxd_once(
        self, interior: LxdInterior, running: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await serve(interior, running, "127.0.0.1", 4302)

        async def refuse(*_: object, **__: object) -> None:
            raise AssertionError("LXD was asked")

        monkeypatch.setattr(interior._connection, "get", refuse)
        began = time.process_time()
        for _ in range(100):
            connected = await interior.connect(running, 4302)
            assert connected is not None
            connected[1].close()
            await connected[1].wait_closed()
        assert (time.process_time() - began) / 100 < 0.005

    async def test_it_never_leads_into_the_hosts_namespace(self, running: str) -> None:
        namespaces = Namespaces()
        try:
            with pytest.raises(NotPossible):  # a process of the host's
                await namespaces.remember(running, "nexus", os.getpid())
            with pytest.raises(ProcessLookupError):
                await namespaces.remember(running, "nexus", 2**22 - 1)
            assert namespaces.possible
            assert namespaces.known(running) is None
        finally:
            namespaces.close()

    async def test_a_namespace_that_is_the_hosts_is_left_at_once(
        self, running: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the control groups say."""
        monkeypatch.setattr("nexus_lxd.namespaces.is_in_container", always)
        namespaces = Namespaces()
        try:
            process = await namespaces.remember(running, "nexus", os.getpid())
            with pytest.raises(NotPossible):
                await namespaces.socket(process, AF_INET)
            assert namespaces.possible
        finally:
            namespaces.close()

    async def test_without_permission_it_cannot_and_does_not_try_again(
        self, interior: LxdInterior, running: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[int] = []

        def enter(descriptor: int) -> None:
            tried.append(descriptor)
            raise PermissionError(errno.EPERM, "not permitted")

        monkeypatch.setattr(interior._namespaces, "_enter", enter)
        assert await interior.connect(running, 22) is None
        assert await interior.connect(running, 22) is None
        assert len(tried) == 1

    async def test_a_thread_that_does_not_find_back_is_not_used_again(
        self, interior: LxdInterior, running: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await serve(interior, running, "127.0.0.1", 4303)
        enter = interior._namespaces._enter

        def lost(descriptor: int) -> None:
            if descriptor == interior._namespaces._home:
                raise OSError(errno.EIO, "lost")
            enter(descriptor)

        monkeypatch.setattr(interior._namespaces, "_enter", lost)
        with pytest.raises(OSError, match="lost"):
            await interior.connect(running, 4303)
        monkeypatch.undo()
        assert await interior.connect(running, 4303) is None

    async def test_what_is_remembered_has_a_bound(
        self, interior: LxdInterior, instances: tuple[str, str, str], lxd: Lxd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nexus_lxd.namespaces._MOST", 1)
        namespaces = interior._namespaces
        for name in (instances[0], instances[2], instances[0]):
            await namespaces.remember(name, "nexus", lxd.api.instances[name].state.get().json()["metadata"]["pid"])
            assert list(namespaces._known) == [name]

    async def test_cancelled_connections_leave_no_socket(self, interior: LxdInterior, running: str) -> None:
        await serve(interior, running, "127.0.0.1", 4304)
        gc.collect()
        before = open_files()
        for _ in range(50):
            call = asyncio.create_task(interior.connect(running, 4304))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call})
        await asyncio.sleep(0.1)
        assert open_files() <= before

    async def test_an_lxd_elsewhere_is_not_connected_to(self) -> None:
        remote = LxdProvider(server_id="x", endpoint="https://192.0.2.1:8443")
        assert await remote.interior.connect("nexus-a", 22) is None
        await remote.close()


async def test_a_service_on_loopback_is_led_on_by_rules_inside(provider: LxdProvider, running: str) -> None:
    """What the image is prepared for: nft inside, the setting that goes with it, and no rules at boot."""
    interior = provider.interior
    await serve(interior, running, "127.0.0.1", 4401)
    address = (await provider.observe(running)).address
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address, 4401)
    rules = (
        "table ip h { chain a { type nat hook prerouting priority dstnat;"
        ' iifname "eth0" tcp dport 4401 dnat to 127.0.0.1; }; }'
    )
    script = 'nft "$0" && echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet'
    assert (await interior.run(running, ["sh", "-c", script, rules], within=10)).exit_code == 0
    reader, writer = await asyncio.open_connection(address, 4401)
    assert await reader.readline() == b"hello\n"
    writer.close()
    await writer.wait_closed()

    names = await interior.run(running, ["getent", "ahosts", "localhost"], within=10)
    assert {line.split()[0] for line in names.output.splitlines()} == {"127.0.0.1"}
    enabled = await interior.run(running, ["systemctl", "is-enabled", "nftables.service"], within=10)
    assert enabled.output == "disabled\n"
