"""The port publisher against the real kernel: what is published is reached, and by whom.

The stage is a bridge, a "workspace" behind it and an "outside" host beside it, both network
namespaces of this machine. Other people's rules and interfaces are not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from contracts.publisher_contract import HERE, THERE, PublisherContract, PublisherStage
from nexus_core.errors import HostPortTaken, PublishFailed
from nexus_core.ports.port_publisher import Target
from nexus_nftables import NftablesPublisher

ABSENT = "nxabsent0"  # a bridge that does not exist: rules may name it all the same


@pytest.fixture
def root() -> None:
    """For tests that change the kernel's rules."""
    missing = [name for name in ("nft", "ip") if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    reason = f"{' and '.join(missing)} not installed" if missing else "needs root" if os.geteuid() != 0 else ""
    if reason and os.environ.get("NEXUS_REQUIRE_LXD") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


NewPublisher = Callable[..., NftablesPublisher]
"""Makes a publisher; without a ``server_id``, for a server of its own."""


@pytest.fixture
async def new_publisher() -> AsyncIterator[NewPublisher]:
    """Publishers that leave nothing behind."""
    made: list[NftablesPublisher] = []

    def new(**options: Any) -> NftablesPublisher:
        options.setdefault("server_id", f"test-{secrets.token_hex(4)}")
        made.append(NftablesPublisher(**options))
        return made[-1]

    yield new
    for publisher in made:
        with contextlib.suppress(PublishFailed):
            await publisher.remove()


@contextlib.contextmanager
def listening(port: int, address: str = "127.0.0.1") -> Generator[None]:
    with socket.create_server((address, port)):
        yield


def free_ports(count: int) -> tuple[int, ...]:
    """Ports nobody uses, from below those the kernel hands out by itself."""
    found: list[int] = []
    while len(found) < count:
        port = 20000 + secrets.randbelow(12000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            found.append(port)
    return tuple(found)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


GREETER = """
import socket, threading
def serve(connection, peer):
    with connection:
        connection.sendall(peer[0].encode() + b"\\n")
        while received := connection.recv(100):
            connection.sendall(received)
server = socket.create_server(("0.0.0.0", 22), backlog=1000)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=server.accept(), daemon=True).start()
"""

ASKER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5) as connection:
    print(connection.makefile().readline().strip())
"""


def greeted_as(address: str, port: int) -> str:
    """Connect from this host: the address by which the workspace knows the one who came."""
    with socket.create_connection((address, port), 3) as connection:
        return connection.makefile().readline().strip()


@dataclass
class Network:
    """A bridge with a workspace behind it, and another host that has a way to this one."""

    tag: str
    number: int

    @property
    def bridge(self) -> str:
        return f"nxb{self.tag}"

    @property
    def gateway(self) -> str:
        return f"10.253.{self.number}.1"

    @property
    def workspace(self) -> Target:
        return Target(f"10.253.{self.number}.2", 22)

    @property
    def own_address(self) -> str:
        """An address of this host that is neither loopback nor the bridge's."""
        return f"10.254.{self.number}.1"

    @property
    def outside(self) -> str:
        return f"10.254.{self.number}.2"

    def build_bridge(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        run("sysctl", "-qw", f"net.ipv4.conf.{self.bridge}.forwarding=1")
        run("ip", "link", "set", f"nxw{self.tag}", "master", self.bridge, "up")

    def build(self) -> None:
        for name in ("nxw", "nxo"):
            space = f"{name}{self.tag}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "eth0", "up")
        run("ip", "-n", f"nxw{self.tag}", "addr", "add", f"{self.workspace.address}/24", "dev", "eth0")
        self.build_bridge()
        self.route_from_workspace()
        run("ip", "addr", "add", f"{self.own_address}/24", "dev", f"nxo{self.tag}")
        run("ip", "link", "set", f"nxo{self.tag}", "up")
        run("sysctl", "-qw", f"net.ipv4.conf.nxo{self.tag}.forwarding=1")
        run("ip", "-n", f"nxo{self.tag}", "addr", "add", f"{self.outside}/24", "dev", "eth0")

    def route_from_workspace(self) -> None:
        run("ip", "-n", f"nxw{self.tag}", "route", "replace", "default", "via", self.gateway)

    def pull_down(self) -> None:
        for command in (
            ("ip", "netns", "del", f"nxw{self.tag}"),
            ("ip", "netns", "del", f"nxo{self.tag}"),
            ("ip", "link", "del", self.bridge),
        ):
            subprocess.run(command, check=False, capture_output=True)

    def greeted_from(self, space: str, address: str, port: int) -> str:
        """As `greeted_as`, from the workspace (``nxw``) or the outside host (``nxo``); OSError if there is no way."""
        asked = subprocess.run(
            ["ip", "netns", "exec", f"{space}{self.tag}", sys.executable, "-c", ASKER, address, str(port)],
            check=False,
            capture_output=True,
            text=True,
        )
        if asked.returncode:
            raise ConnectionError(asked.stderr.strip().splitlines()[-1])
        return asked.stdout.strip()

    def route_localnet(self) -> str:
        return Path(f"/proc/sys/net/ipv4/conf/{self.bridge}/route_localnet").read_text().strip()


@pytest.fixture
def network(root: None) -> Iterator[Network]:
    """Built anew for each test, with something listening on port 22 of the workspace."""
    network = Network(tag=secrets.token_hex(3), number=1 + secrets.randbelow(254))
    greeter = None
    try:
        network.build()
        greeter = subprocess.Popen(
            ["ip", "netns", "exec", f"nxw{network.tag}", sys.executable, "-c", GREETER],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert greeter.stdout is not None
        assert greeter.stdout.readline() == "ready\n"
        yield network
    finally:
        if greeter is not None:
            greeter.kill()
            greeter.communicate()
        network.pull_down()


class TestPromises(PublisherContract):
    @pytest.fixture
    def stage(self, root: None, new_publisher: NewPublisher) -> PublisherStage:
        server_id = secrets.token_hex(6)
        return PublisherStage(
            publisher=new_publisher(server_id=server_id, bridge=ABSENT),
            restarted=new_publisher(server_id=server_id, bridge=ABSENT),
            other_server=new_publisher(bridge=ABSENT),
            listening=listening,
            free=free_ports(8),
        )


class TestReach:
    async def test_from_loopback_own_addresses_and_other_hosts(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        (port,) = free_ports(1)

        await new_publisher(bridge=network.bridge).publish(port, network.workspace)

        # The workspace sees who came, save for loopback, whose address means nothing there.
        assert greeted_as("127.0.0.1", port) == network.gateway
        assert greeted_as("127.0.0.53", port) == network.gateway
        assert greeted_as(network.own_address, port) == network.own_address
        assert greeted_as(network.gateway, port) == network.gateway
        assert network.greeted_from("nxo", network.own_address, port) == network.outside

    async def test_not_from_the_workspaces(self, network: Network, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)

        await new_publisher(bridge=network.bridge).publish(port, network.workspace)

        for address in (network.gateway, network.own_address):
            with pytest.raises(ConnectionError):
                network.greeted_from("nxw", address, port)

    async def test_the_hosts_loopback_stays_shut_to_workspaces(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        """A workspace whose root sends packets for 127.0.0.1 to the bridge gets nowhere."""
        port, private = free_ports(2)
        publisher = new_publisher(server_id=f"test{network.tag}", bridge=network.bridge)
        await publisher.publish(port, network.workspace)
        space = f"nxw{network.tag}"
        run("ip", "-n", space, "addr", "del", "127.0.0.1/8", "dev", "lo")
        run("ip", "-n", space, "route", "add", "127.0.0.0/8", "via", network.gateway)
        run("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")

        with socket.create_server(("127.0.0.1", private)) as server:
            server.settimeout(0.2)
            with pytest.raises(ConnectionError, match=r"[Tt]imed? ?out"):
                network.greeted_from("nxw", "127.0.0.1", private)
            with pytest.raises(TimeoutError):
                server.accept()

            # Without the guard it would have got through: the attempt was a real one.
            run("nft", "flush", "chain", "ip", f"nexus_test{network.tag}", "guard")
            with pytest.raises(ConnectionError):  # it connects, and nobody greets
                network.greeted_from("nxw", "127.0.0.1", private)
            server.accept()[0].close()

    async def test_a_port_on_loopback_alone(self, network: Network, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)
        only = replace(network.workspace, on="127.0.0.1")

        await new_publisher(bridge=network.bridge).publish(port, only)

        assert greeted_as("127.0.0.1", port) == network.gateway
        for address in ("127.0.0.53", network.own_address, network.gateway):
            with pytest.raises(ConnectionRefusedError):
                greeted_as(address, port)
        with pytest.raises(ConnectionError):
            network.greeted_from("nxo", network.own_address, port)
        for address in (network.gateway, network.own_address):
            with pytest.raises(ConnectionError):
                network.greeted_from("nxw", address, port)

    @pytest.mark.parametrize("space", ["nxo", "nxw"])
    async def test_a_port_on_loopback_is_not_for_neighbours_that_say_127(
        self, network: Network, new_publisher: NewPublisher, space: str
    ) -> None:
        """Another host's packets for 127.0.0.1 are not led on before the kernel can turn them away."""
        (port,) = free_ports(1)
        publisher = new_publisher(bridge=network.bridge)
        gateway = network.own_address if space == "nxo" else network.gateway
        inside = f"{space}{network.tag}"
        run("ip", "-n", inside, "addr", "del", "127.0.0.1/8", "dev", "lo")
        run("ip", "-n", inside, "route", "add", "127.0.0.0/8", "via", gateway)
        run("ip", "netns", "exec", inside, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")

        await publisher.publish(port, replace(network.workspace, on="127.0.0.1"))

        with pytest.raises(ConnectionError, match=r"[Tt]imed? ?out"):
            network.greeted_from(space, "127.0.0.1", port)
        if space == "nxo":  # the attempt was a real one: of a port for everybody it does get through
            await publisher.publish(port, network.workspace)
            assert network.greeted_from("nxo", "127.0.0.1", port)

    async def test_a_port_on_one_address_of_the_host(self, network: Network, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)
        publisher = new_publisher(bridge=network.bridge)

        await publisher.publish(port, replace(network.workspace, on=network.own_address))

        assert greeted_as(network.own_address, port) == network.own_address
        assert network.greeted_from("nxo", network.own_address, port) == network.outside
        for address in ("127.0.0.1", network.gateway):
            with pytest.raises(ConnectionRefusedError):
                greeted_as(address, port)
        with pytest.raises(ConnectionError):
            network.greeted_from("nxw", network.own_address, port)

        await publisher.publish(port, network.workspace)
        assert greeted_as("127.0.0.1", port) == network.gateway

    async def test_a_table_of_before_is_rebuilt_and_disturbs_no_connection(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        port, other = free_ports(2)
        table = f"nexus_test{network.tag}"
        publisher = new_publisher(server_id=f"test{network.tag}", bridge=network.bridge)
        await publisher.publish(port, network.workspace)
        for chain in ("arriving", "outgoing"):  # as they were when there was one map
            run("nft", "flush", "chain", "ip", table, chain)
            rule = "fib daddr type local dnat ip addr . port to tcp dport map @ports"
            run("nft", f'add rule ip {table} {chain} iifname != "{network.bridge}" {rule}')
        run("nft", "delete", "map", "ip", table, "bound")

        with socket.create_connection((network.own_address, port), 3) as connection:
            lines = connection.makefile("rw")
            lines.readline()
            assert await publisher.published() == {}
            wanted = {port: network.workspace, other: replace(network.workspace, on="127.0.0.1")}
            await publisher.restore(wanted)
            assert await publisher.published() == wanted
            lines.write("still there?\n")
            lines.flush()
            assert lines.readline() == "still there?\n"
        assert greeted_as("127.0.0.1", port) == greeted_as("127.0.0.1", other) == network.gateway

    async def test_connections_from_loopback_outlive_the_bridges_address(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        """LXD takes the address away and gives it back whenever it starts."""
        (port,) = free_ports(1)
        address = (f"{network.gateway}/24", "dev", network.bridge)
        publisher = new_publisher(bridge=network.bridge)
        run("ip", "addr", "del", *address)
        await publisher.publish(port, network.workspace)
        run("ip", "addr", "add", *address)
        assert await publisher.published() == {}
        await publisher.publish(port, network.workspace)

        with socket.create_connection(("127.0.0.1", port), 3) as connection:
            lines = connection.makefile("rw")
            lines.readline()
            run("ip", "addr", "del", *address)
            assert await publisher.published() == {port: network.workspace}
            run("ip", "addr", "add", *address)
            lines.write("still there?\n")
            lines.flush()
            assert lines.readline() == "still there?\n"

    async def test_leading_a_port_elsewhere_and_withdrawing_it(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        (port,) = free_ports(1)
        publisher = new_publisher(bridge=network.bridge)
        await publisher.publish(port, Target(network.workspace.address, 2222))
        with pytest.raises(ConnectionRefusedError):  # nothing listens on 2222 in there
            greeted_as("127.0.0.1", port)

        await publisher.publish(port, network.workspace)
        assert greeted_as("127.0.0.1", port)

        await publisher.withdraw(port)
        for address in ("127.0.0.1", network.own_address):
            with pytest.raises(ConnectionRefusedError):
                greeted_as(address, port)
        with pytest.raises(ConnectionError):
            network.greeted_from("nxo", network.own_address, port)

    async def test_restoring_disturbs_no_connection_and_refuses_none(
        self, network: Network, new_publisher: NewPublisher
    ) -> None:
        port, other = free_ports(2)
        publisher = new_publisher(bridge=network.bridge)
        await publisher.publish(port, network.workspace)
        done = threading.Event()
        greeted: list[str] = []
        failures: list[OSError] = []

        def keep_coming() -> None:
            while not done.is_set():
                try:
                    greeted.append(greeted_as("127.0.0.1", port))
                except OSError as exc:
                    failures.append(exc)

        coming = threading.Thread(target=keep_coming)
        with socket.create_connection((network.own_address, port), 3) as connection:
            lines = connection.makefile("rw")
            lines.readline()
            coming.start()
            for round_ in range(20):
                await publisher.restore({port: network.workspace, other + round_ % 2: network.workspace})
                lines.write("still there?\n")
                lines.flush()
                assert lines.readline() == "still there?\n"
            done.set()
            coming.join(10)
            assert failures == []
            assert greeted

            # Nor is an open connection cut by a port that goes: its workspace's end is what cuts it.
            await publisher.restore({})
            lines.write("still there?\n")
            lines.flush()
            assert lines.readline() == "still there?\n"
        with pytest.raises(ConnectionRefusedError):
            greeted_as("127.0.0.1", port)

    async def test_two_servers_on_one_bridge(self, network: Network, new_publisher: NewPublisher) -> None:
        one, two = free_ports(2)
        first = new_publisher(bridge=network.bridge)
        second = new_publisher(bridge=network.bridge)
        await first.publish(one, network.workspace)
        await second.restore({two: network.workspace})

        await first.remove()

        assert await second.published() == {two: network.workspace}
        assert greeted_as("127.0.0.1", two) == network.gateway
        assert network.route_localnet() == "1"
        with pytest.raises(ConnectionRefusedError):
            greeted_as("127.0.0.1", one)

        await second.remove()
        assert network.route_localnet() == "0"

    async def test_a_bridge_that_comes_up_later_and_again(self, network: Network, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)
        run("ip", "link", "del", network.bridge)
        publisher = new_publisher(bridge=network.bridge)
        await publisher.publish(port, network.workspace)
        assert await publisher.published() == {port: network.workspace}

        network.build_bridge()
        network.route_from_workspace()

        # The new bridge does not let loopback through yet, which the report says and publishing mends.
        assert await publisher.published() == {}
        await publisher.publish(port, network.workspace)
        assert await publisher.published() == {port: network.workspace}
        assert greeted_as("127.0.0.1", port) == network.gateway


class TestMending:
    async def test_rules_that_somebody_took_away_come_back_with_the_ports(
        self, root: None, new_publisher: NewPublisher
    ) -> None:
        one, two = free_ports(2)
        publisher = new_publisher(server_id="mending", bridge=ABSENT)
        await publisher.publish(one, HERE)
        run("nft", "flush", "chain", "ip", "nexus_mending", "arriving")
        assert await publisher.published() == {}

        await publisher.publish(two, THERE)

        assert await publisher.published() == {one: HERE, two: THERE}

    async def test_a_table_that_somebody_took_away_is_made_anew(self, root: None, new_publisher: NewPublisher) -> None:
        one, two = free_ports(2)
        publisher = new_publisher(server_id="mending", bridge=ABSENT)
        await publisher.publish(one, HERE)
        run("nft", "delete", "table", "ip", "nexus_mending")

        await publisher.withdraw(one)
        await publisher.publish(two, THERE)

        assert await publisher.published() == {two: THERE}

    async def test_removing_leaves_nothing_and_may_be_repeated(self, root: None, new_publisher: NewPublisher) -> None:
        publisher = new_publisher(server_id="removing", bridge=ABSENT)
        await publisher.publish(free_ports(1)[0], HERE)

        await publisher.remove()
        await publisher.remove()

        assert "nexus_removing" not in run("nft", "list", "tables")


class TestOccupied:
    async def test_it_is_remembered_for_a_few_seconds(self, root: None, new_publisher: NewPublisher) -> None:
        now = 100.0
        publisher = new_publisher(bridge=ABSENT, ports_cache_seconds=3.0, monotonic=lambda: now)
        (port,) = free_ports(1)
        with listening(port, "0.0.0.0"):  # noqa: S104  # any address will do to occupy the port
            assert port in await publisher.occupied()

        now = 102.9
        assert port in await publisher.occupied()
        now = 103.0
        assert port not in await publisher.occupied()

    async def test_an_ipv6_listener_occupies_its_port_too(self, root: None, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)
        try:
            server = socket.create_server(("::1", port), family=socket.AF_INET6)
        except OSError:
            pytest.skip("this host has no IPv6 loopback")
        with server, pytest.raises(HostPortTaken):
            await new_publisher(bridge=ABSENT).publish(port, HERE)

    async def test_dnat_of_another_kind_occupies_its_port_too(self, root: None, new_publisher: NewPublisher) -> None:
        (port,) = free_ports(1)
        table = f"nxtest{secrets.token_hex(3)}"
        run("nft", f"add table inet {table}; add chain inet {table} c {{ type nat hook prerouting priority dstnat; }}")
        try:
            # As LXD's proxy devices with nat=true look; from an address nobody has, so that nobody is led astray.
            run("nft", f"add rule inet {table} c ip daddr 192.0.2.1 tcp dport {port} dnat ip to 10.0.0.9:22")
            with pytest.raises(HostPortTaken):
                await new_publisher(bridge=ABSENT).publish(port, HERE)
        finally:
            run("nft", "delete", "table", "inet", table)


class TestRefusals:
    async def test_targets_that_are_no_ipv4_address_or_port(self, root: None, new_publisher: NewPublisher) -> None:
        sound, *ports = free_ports(4)
        publisher = new_publisher(bridge=ABSENT)
        targets = [Target("fd00::1", 22), Target("10.0.0.1 }; flush ruleset; {", 22), Target("10.0.0.1", 0)]

        answers = await asyncio.gather(
            *(publisher.publish(port, target) for port, target in zip(ports, targets, strict=True)),
            publisher.publish(sound, HERE),
            return_exceptions=True,
        )

        assert [type(answer) for answer in answers] == [PublishFailed] * 3 + [type(None)]
        assert await publisher.published() == {sound: HERE}

    async def test_without_permission(self, root: None, tmp_path: Path) -> None:
        unprivileged = program(tmp_path, 'exec setpriv --reuid 65534 --clear-groups nft "$@"')

        with pytest.raises(PublishFailed) as refusal:
            await NftablesPublisher(server_id="x", bridge=ABSENT, nft=unprivileged).publish(2222, HERE)

        assert "CAP_NET_ADMIN" in refusal.value.fix

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("echo 'not JSON'", "cannot be read"),
            ("echo '{}'", "cannot be read"),
            ("echo '[]'", "cannot be read"),
            ("echo 'x: Error: Could not process rule: Device or resource busy' >&2; exit 1", "says: Could not process"),
            ("exit 1", "says: nothing"),
            ("kill -SEGV $$", "says: nothing"),
            ("exec sleep 60", "did not answer"),
        ],
    )
    async def test_an_nft_that_fails(self, tmp_path: Path, script: str, reason: str) -> None:
        publisher = NftablesPublisher(
            server_id="x",
            bridge=ABSENT,
            nft=program(tmp_path, script),
            timeout_seconds=0.2 if "sleep" in script else 10,
        )

        for attempt in (publisher.publish(2222, HERE), publisher.withdraw(2222), publisher.published()):
            with pytest.raises(PublishFailed, match=reason) as refusal:
                await attempt
            assert str(tmp_path) not in refusal.value.message

    async def test_an_nft_that_is_not_there_or_cannot_be_run(self, tmp_path: Path) -> None:
        missing = NftablesPublisher(server_id="x", bridge=ABSENT, nft=str(tmp_path / "nft"))
        with pytest.raises(PublishFailed, match="missing") as refusal:
            await missing.restore({})
        assert "apt-get install nftables" in refusal.value.fix

        (tmp_path / "text").write_text("no program")
        unusable = NftablesPublisher(server_id="x", bridge=ABSENT, nft=str(tmp_path / "text"))
        with pytest.raises(PublishFailed, match="cannot be run"):
            await unusable.occupied()


class TestCancelling:
    async def test_whoever_waits_behind_a_cancelled_call_is_served(self, tmp_path: Path) -> None:
        stuck = tmp_path / "stuck"
        stuck.touch()
        publisher = NftablesPublisher(
            server_id="x",
            bridge=ABSENT,
            nft=program(
                tmp_path,
                f"""\
                echo $$ >> {tmp_path}/pids
                [ -e {stuck} ] && exec sleep 60
                if [ "$1" = -j ]; then echo '{{"nftables": []}}'; else cat >> {tmp_path}/done; fi""",
            ),
        )
        leading = asyncio.create_task(publisher.publish(2222, HERE))
        await asyncio.to_thread(wait_for, tmp_path / "pids")
        given_up = asyncio.create_task(publisher.publish(2223, HERE))
        waiting = asyncio.create_task(publisher.publish(2224, HERE))
        await asyncio.sleep(0)

        stuck.unlink()
        given_up.cancel()
        leading.cancel()
        await asyncio.wait_for(waiting, 10)

        assert leading.cancelled()
        assert given_up.cancelled()
        script = (tmp_path / "done").read_text()
        assert "{ 2224 : 10.1.2.3 . 22 }" in script
        assert "2222" not in script
        assert "2223" not in script
        assert not any(map(is_running, (tmp_path / "pids").read_text().split()))  # killed and reaped


def program(folder: Path, script: str) -> str:
    """An executable to be run in nft's place."""
    path = folder / "fake-nft"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def is_running(pid: str) -> bool:
    return Path("/proc", pid).exists()


def test_nothing_is_opened_at_construction(tmp_path: Path) -> None:
    NftablesPublisher(server_id="x", bridge=ABSENT, nft=str(tmp_path / "absent"), proc=tmp_path / "absent")


def test_addresses_of_the_stage_are_addresses() -> None:
    network = Network("abcdef", 7)
    for address in (network.gateway, network.workspace.address, network.own_address, network.outside):
        assert IPv4Address(address).is_private
