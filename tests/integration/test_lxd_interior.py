"""Inside instances, with an LXD that says what LXD says in its bad moments."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator, Generator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidStatus

from integration.test_lxd_connection import (
    OPERATION,
    SERVER_RECORD,
    Answer,
    Handler,
    ScriptedLxd,
    error,
    operation,
    record,
    sync,
)
from nexus_core.domain.resources import Resources
from nexus_core.errors import InstanceMissing, InstanceStopped, ProviderFailed, ProviderUnavailable
from nexus_core.ports.interior import Completed
from nexus_lxd import commands, files
from nexus_lxd.channels import Channels
from nexus_lxd.interior import LxdInterior
from nexus_lxd.namespaces import is_in_container
from nexus_lxd.provider import LxdProvider
from nexus_lxd.transfers import content_of

NAME = "nexus-a"
WEBSOCKET = f"GET {OPERATION}/websocket"
WAIT = f"GET {OPERATION}/wait"
FILES = f"/1.0/instances/{NAME}/files"
FDS = {"0": "s0", "1": "s1", "2": "s2", "control": "sc"}
BEGUN = (202, {"type": "async", "metadata": operation(103, fds=FDS)})
END_OF_OUTPUT = b"\x81\x00"  # an empty text


@pytest.fixture
def lxd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[ScriptedLxd]:
    """An LXD with one instance, in which commands can be begun."""
    monkeypatch.setattr(files, "_PAUSE", 0.001)
    server = ScriptedLxd(str(tmp_path / "socket"))
    server.on(f"GET /1.0/instances/{NAME}", sync(record(NAME, "Running")))
    server.on(f"POST /1.0/instances/{NAME}/exec", BEGUN)
    server.on(WEBSOCKET, channels())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def provider(lxd: ScriptedLxd) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id="me", endpoint=str(lxd.server_address))
    yield provider
    await provider.close()


@pytest.fixture
def interior(provider: LxdProvider) -> LxdInterior:
    return provider.interior


def channels(**frames: bytes) -> Handler:
    """Lets the websockets of a command be opened; each sends its frames and breaks off."""

    def opened(query: dict[str, str]) -> Answer:
        return 101, frames.get(query["secret"], b"")

    return opened


def ended(code: int) -> Answer:
    """A command's end."""
    return sync({**operation(200), "metadata": {"return": code}})


class TestCommands:
    async def test_output_and_code(self, lxd: ScriptedLxd, interior: LxdInterior) -> None:
        lxd.on(WEBSOCKET, channels(s1=b"\x82\x03out" + END_OF_OUTPUT))
        lxd.on(WAIT, sync(operation(103)), ended(3))
        assert await interior.run(NAME, ["x"], within=10) == Completed(3, "out")
        assert lxd.count(WAIT) == 2

    @pytest.mark.parametrize(
        ("answer", "expected", "words"),
        [
            (error(404, "Operation not found"), ProviderUnavailable, "restarted"),
            (error(503, "Shutting down"), ProviderUnavailable, "starting or stopping"),
            (error(500, "Database error"), ProviderFailed, "Database error"),
            (sync(operation(400, "Failed to attach")), ProviderFailed, "Failed to attach"),
            (sync(operation(400, "LXD is shutting down")), ProviderUnavailable, "starting, stopping"),
        ],
    )
    @pytest.mark.parametrize("opened", [True, False])
    async def test_an_lxd_that_breaks_off(
        self,
        lxd: ScriptedLxd,
        interior: LxdInterior,
        *,
        answer: Answer,
        expected: type[Exception],
        words: str,
        opened: bool,
    ) -> None:
        if not opened:
            lxd.on(WEBSOCKET, error(404, "Operation not found"))
        lxd.on(WAIT, answer)
        with pytest.raises(expected, match=words):
            await interior.run(NAME, ["x"], within=10)
        with pytest.raises(expected, match=words):
            await anext(interior.stream(NAME, ["x"]))

    async def test_a_command_that_ended_before_it_could_be_listened_to(
        self, lxd: ScriptedLxd, interior: LxdInterior
    ) -> None:
        lxd.on(WEBSOCKET, error(400, "Only running operations can be connected"))
        lxd.on(WAIT, ended(0))
        with pytest.raises(ProviderUnavailable):
            await interior.run(NAME, ["x"], within=10)

    async def test_an_lxd_that_opens_no_websocket_in_time(
        self, lxd: ScriptedLxd, interior: LxdInterior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "_ATTACHING", 0.1)
        release = threading.Event()

        def hang(_: dict[str, str]) -> Answer:
            release.wait(5)
            return error(500, "too late")

        lxd.on(WEBSOCKET, hang)
        try:
            with pytest.raises(ProviderUnavailable, match="in time"):
                await interior.run(NAME, ["x"], within=10)
        finally:
            release.set()

    async def test_a_killed_command_that_does_not_end_is_not_waited_for_long(
        self, lxd: ScriptedLxd, interior: LxdInterior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "_ENDING", 0.2)

        def still(_: dict[str, str]) -> Answer:
            time.sleep(0.05)
            return sync(operation(103))

        lxd.on(WAIT, still)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await interior.run(NAME, ["x"], within=0.2)
        assert time.monotonic() - began < 2

    async def test_nothing_is_done_in_another_servers_instance(self, lxd: ScriptedLxd, interior: LxdInterior) -> None:
        lxd.on(f"GET /1.0/instances/{NAME}", sync(record(NAME, "Running", server="you")))
        with pytest.raises(InstanceMissing):
            await interior.run(NAME, ["x"], within=10)
        with pytest.raises(InstanceMissing):
            await interior.write(NAME, "/x", b"")
        assert lxd.count(f"POST /1.0/instances/{NAME}/exec") == 0
        assert lxd.count(f"DELETE {FILES}") == 0


class TestFiles:
    @pytest.fixture(autouse=True)
    def stopped(self, lxd: ScriptedLxd) -> None:
        lxd.on(f"GET /1.0/instances/{NAME}", sync(record(NAME)))

    async def test_what_cannot_be_cleared_is_not_written(self, lxd: ScriptedLxd, interior: LxdInterior) -> None:
        lxd.on(f"DELETE {FILES}", error(500, "sftp: connection lost"))
        with pytest.raises(ProviderFailed, match="connection lost"):
            await interior.write(NAME, "/x", b"")
        assert lxd.count(f"DELETE {FILES}") == 4
        assert lxd.count(f"POST {FILES}") == 0

    async def test_a_refusal_to_read_is_no_absence(self, lxd: ScriptedLxd, interior: LxdInterior) -> None:
        lxd.on(f"GET {FILES}", error(500, "sftp: connection lost"))
        with pytest.raises(ProviderFailed, match="connection lost"):
            await interior.read(NAME, "/x", limit=10)

    async def test_a_file_that_does_not_come_is_refused_and_lxd_not_taken_for_away(
        self, lxd: ScriptedLxd, interior: LxdInterior, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "_READ", 0.2)
        release = threading.Event()
        lxd.on(f"GET {FILES}", lambda _: (release.wait(5), error(500, "too late"))[1])
        try:
            with pytest.raises(ProviderFailed, match="did not come within"):
                await interior.read(NAME, "/x", limit=10)
        finally:
            release.set()

    def test_a_file_that_comes_by_drops_is_given_up(self) -> None:
        class Raw:
            def read1(self, _: int) -> bytes:
                time.sleep(0.02)
                return b"."

        response = requests.Response()
        response.raw = Raw()
        with pytest.raises(TimeoutError):
            content_of(response, 1000, 0.1)


class TestConnecting:
    @pytest.mark.parametrize("pid", [-1, 0, 2**22 - 1])
    async def test_without_a_process_nobody_listens(self, lxd: ScriptedLxd, interior: LxdInterior, pid: int) -> None:
        lxd.on(f"GET /1.0/instances/{NAME}/state", sync({"pid": pid}))
        with pytest.raises(InstanceStopped):
            await interior.connect(NAME, 80)

    async def test_a_process_that_is_not_the_instances_is_left_alone(
        self, lxd: ScriptedLxd, interior: LxdInterior
    ) -> None:
        """As where LXD numbers processes otherwise than this program sees them."""
        lxd.on(f"GET /1.0/instances/{NAME}/state", sync({"pid": os.getpid()}))
        assert await interior.connect(NAME, 80) is None

    async def test_after_the_end_nothing_is_connected(self, provider: LxdProvider) -> None:
        await provider.close()
        assert await provider.interior.connect(NAME, 80) is None

    @pytest.mark.parametrize(
        ("groups", "project", "name", "expected"),
        [
            ("0::/lxc.payload.nexus_a/init.scope\n", "nexus", "a", True),
            ("8:pids:/\n0::/lxc.payload.nexus_a\n", "nexus", "a", True),
            ("0::/lxc.payload.nexus_a-1/init.scope\n", "nexus", "a", True),
            ("0::/lxc.payload.a\n", "default", "a", True),
            ("0::/lxc.payload.nexus_ab\n", "nexus", "a", False),
            ("0::/lxc.payload.nexus_a\n", "default", "a", False),
            ("0::/lxc.monitor.nexus_a\n", "nexus", "a", False),
            ("0::/user.slice\n", "nexus", "a", False),
            ("0::/lxc.payload.nexus_axb\n", "nexus", "a.b", False),
            ("", "nexus", "a", False),
        ],
    )
    def test_whose_a_process_is(self, groups: str, project: str, name: str, expected: bool) -> None:
        assert is_in_container(groups, project, name) is expected


class TestResizing:
    async def test_cores_are_a_second_matter(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        root = {"type": "disk", "path": "/", "pool": "p"}
        found = {**record(NAME, "Running"), "expanded_devices": {"root": root}}
        lxd.on(f"GET /1.0/instances/{NAME}", sync(found))
        lxd.on(f"PATCH /1.0/instances/{NAME}", sync({}), error(400, "Invalid value"))
        await provider.resize(NAME, Resources(cpu=1, memory="512MiB", disk="4GiB"))
        assert lxd.count(f"PATCH /1.0/instances/{NAME}") == 2

        with pytest.raises(ProviderFailed, match="Invalid value"):
            await provider.resize(NAME, Resources(cpu=1, memory="512MiB", disk="4GiB"))


class TestSecureWebsockets:
    """Over HTTPS: who the other end is, is seen to by certificates on both sides."""

    @pytest.fixture
    def pair(self, tmp_path: Path) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        (tmp_path / "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = serialization.PrivateFormat.PKCS8
        encoded = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        (tmp_path / "key").write_bytes(encoded)
        return str(tmp_path / "crt"), str(tmp_path / "key")

    @pytest.fixture
    def endpoint(self, pair: tuple[str, str]) -> Generator[str]:
        """An LXD that wants the client's certificate, answers who it is, and has nothing else."""

        class Nothing(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/1.0":
                    self.send_error(404)
                    return
                content = json.dumps(sync(SERVER_RECORD)[1]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
                """Stay silent."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Stay silent about handshakes that fail."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.load_verify_locations(pair[0])
        context.verify_mode = ssl.CERT_REQUIRED
        server = Server(("127.0.0.1", 0), Nothing)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()
        thread.join()

    async def test_with_the_right_certificates_it_answers(self, endpoint: str, pair: tuple[str, str]) -> None:
        for address in (endpoint, endpoint.replace("127.0.0.1", "localhost")):
            with pytest.raises(InvalidStatus):
                await Channels(pair, pair[0]).open(address, "/1.0/operations/x/websocket")

    async def test_the_pinned_certificate_is_what_counts(
        self, endpoint: str, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the authorities that the environment names."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
        crt, key = map(Path, pair)
        secure = LxdProvider(server_id="me", endpoint=endpoint, client_cert=crt, client_key=key, server_cert=crt)
        try:
            assert (await secure.status()).available
        finally:
            await secure.close()

    @pytest.mark.parametrize(("own", "pinned"), [(False, True), (True, False), (False, False)])
    async def test_without_them_lxd_is_away(
        self, endpoint: str, pair: tuple[str, str], own: bool, pinned: bool
    ) -> None:
        channels = Channels(pair if own else None, pair[0] if pinned else True)
        with pytest.raises(ProviderUnavailable):
            await channels.open(endpoint, "/1.0/operations/x/websocket")

    async def test_nobody_there_is_away(self) -> None:
        with pytest.raises(ProviderUnavailable):
            async with asyncio.timeout(5):
                await Channels(None, True).open("https://127.0.0.1:1", "/1.0/operations/x/websocket")
