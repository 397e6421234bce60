"""The asyncssh adapter against OpenSSH's own tools and real SSH servers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import pkgutil
import socket
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from contracts.probe_contract import ProbeContract, ProbeStage
from contracts.public_keys_contract import PublicKeysContract
from contracts.ssh_keys import ACCEPTED, ED25519, line
from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_core.errors import HostKeyMismatch, InvalidSshKey, SshNotReady
from nexus_core.ports.public_keys import PublicKeys
from nexus_ssh import AsyncsshKeys, AsyncsshProbe

SOME_KEY = PublicKey(ED25519, "SHA256:some")
KEYGEN_KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa-256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-521": ("-t", "ecdsa", "-b", "521"),
    "rsa-2048": ("-t", "rsa", "-b", "2048"),
    "rsa-3072": ("-t", "rsa", "-b", "3072"),
}


def keygen(*arguments: str) -> str:
    return subprocess.run(
        ["ssh-keygen", "-q", *arguments], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout


def fingerprint_by_openssh(public: Path) -> str:
    return keygen("-l", "-f", str(public)).split()[1]


class TestKeys(PublicKeysContract):
    @pytest.fixture
    def keys(self) -> PublicKeys:
        return AsyncsshKeys()

    @pytest.mark.parametrize("kind", KEYGEN_KINDS)
    def test_keys_made_by_openssh_are_read_as_openssh_reads_them(self, tmp_path: Path, kind: str) -> None:
        keygen(*KEYGEN_KINDS[kind], "-N", "", "-C", "laptop", "-f", str(tmp_path / "key"))
        public = tmp_path / "key.pub"

        parsed = AsyncsshKeys().parse(public.read_text())

        assert public.read_text() == f"{parsed.text} laptop\n"
        assert parsed.fingerprint == fingerprint_by_openssh(public)

    @pytest.mark.parametrize("kind", ACCEPTED)
    def test_fingerprints_of_keys_built_by_hand_are_openssh_s(self, tmp_path: Path, kind: str) -> None:
        # The sk- kinds cannot be generated without a device.
        public = tmp_path / "key.pub"
        public.write_text(ACCEPTED[kind] + "\n")

        assert AsyncsshKeys().parse(ACCEPTED[kind]).fingerprint == fingerprint_by_openssh(public)

    def test_a_short_rsa_key_made_by_openssh_is_refused_with_its_size(self, tmp_path: Path) -> None:
        keygen("-t", "rsa", "-b", "1024", "-N", "", "-f", str(tmp_path / "key"))

        with pytest.raises(InvalidSshKey, match="1024 bits"):
            AsyncsshKeys().parse((tmp_path / "key.pub").read_text())

    def test_a_dsa_key_is_refused(self, tmp_path: Path) -> None:
        try:
            keygen("-t", "dsa", "-N", "", "-f", str(tmp_path / "key"))
        except subprocess.CalledProcessError:
            pytest.skip("this OpenSSH makes no DSA keys any more; the contract has one built by hand")

        with pytest.raises(InvalidSshKey, match="DSA"):
            AsyncsshKeys().parse((tmp_path / "key.pub").read_text())

    def test_private_keys_and_certificates_made_by_openssh_are_refused(self, tmp_path: Path) -> None:
        key = str(tmp_path / "key")
        keygen("-t", "ed25519", "-N", "", "-f", key)
        keygen("-s", key, "-I", "identity", "-n", "dev", f"{key}.pub")

        for name in ("key", "key-cert.pub"):
            with pytest.raises(InvalidSshKey):
                AsyncsshKeys().parse((tmp_path / name).read_text())

    @pytest.mark.parametrize(
        "text",
        [
            line("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(64)),  # no point of the curve
            line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(64)),  # another curve's name
            line("ssh-ed25519", bytes(31)),  # a byte short
            line("ssh-rsa", b"", b"\x01" + bytes(255) + b"\x01"),  # no exponent
            line("sk-ssh-ed25519@openssh.com", bytes(32), b"\xff"),  # an application that is not text
            line("ssh-rsa", b"\x01\x00\x01", b"\x01" + bytes(2100) + b"\x01"),  # longer than sshd takes
            f"{ED25519} {'x' * 9000}",
        ],
    )
    def test_keys_that_only_look_right_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidSshKey):
            AsyncsshKeys().parse(text)

    def test_openssh_takes_a_generated_host_key(self, tmp_path: Path) -> None:
        pair = AsyncsshKeys().generate_host_key()
        private = tmp_path / "ssh_host_ed25519_key"
        private.touch(mode=0o600)
        private.write_text(pair.private)

        assert keygen("-y", "-f", str(private)).strip() == pair.public.text


Serve = Callable[..., Awaitable[int]]
"""Starts an SSH server on loopback with these host keys, and answers its port."""

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with contextlib.AsyncExitStack() as stack:

        async def listen(*keys: asyncssh.SSHKey | asyncssh.SSHKeyPair) -> int:
            acceptor = await asyncssh.listen("127.0.0.1", 0, server_host_keys=list(keys))
            stack.push_async_callback(acceptor.wait_closed)
            stack.callback(acceptor.close)
            return acceptor.get_port()

        yield listen


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that is bound and not listened on: nobody else can come to answer there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.asynccontextmanager
async def tcp_server(answer: Answer) -> AsyncGenerator[int]:
    """A port at which something answers in its own way."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class TestProbe(ProbeContract):
    @pytest.fixture
    def stage(self, serve: Serve, silent: int) -> ProbeStage:
        async def with_key(pair: HostKeyPair) -> int:
            return await serve(asyncssh.import_private_key(pair.private))

        return ProbeStage(AsyncsshProbe(), AsyncsshKeys(), with_key, silent)

    async def test_a_server_with_several_keys_is_asked_for_the_expected_one(self, serve: Serve) -> None:
        held = [
            asyncssh.generate_private_key("ssh-rsa", key_size=2048),
            asyncssh.generate_private_key("ecdsa-sha2-nistp256"),
            asyncssh.generate_private_key("ssh-ed25519"),
        ]
        port = await serve(*held)

        for key in held:
            await AsyncsshProbe().handshake(port, AsyncsshKeys().parse(key.export_public_key().decode()))

    async def test_a_key_that_is_shown_and_not_held_is_not_enough(self, serve: Serve) -> None:
        shown = AsyncsshKeys().generate_host_key()
        (pair,) = asyncssh.load_keypairs([asyncssh.generate_private_key("ssh-ed25519")])
        pair.public_data = asyncssh.import_public_key(shown.public.text).public_data

        port = await serve(pair)

        with pytest.raises(SshNotReady, match="proved no key"):
            await AsyncsshProbe().handshake(port, shown.public)

    async def test_one_that_never_speaks_is_given_up_and_hung_up_on(self) -> None:
        hung_up = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # until the other end closes
            hung_up.set()
            writer.close()

        async with tcp_server(say_nothing) as port:
            with pytest.raises(SshNotReady, match="in time"):
                await AsyncsshProbe(timeout_seconds=0.05).handshake(port, SOME_KEY)
            await asyncio.wait_for(hung_up.wait(), 5)

    async def test_a_successful_handshake_leaves_no_connection(self) -> None:
        ended = asyncio.Event()

        class Watching(asyncssh.SSHServer):
            def connection_lost(self, exc: Exception | None) -> None:
                ended.set()

        pair = AsyncsshKeys().generate_host_key()
        async with await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Watching, server_host_keys=[asyncssh.import_private_key(pair.private)]
        ) as acceptor:
            await AsyncsshProbe().handshake(acceptor.get_port(), pair.public)
            await asyncio.wait_for(ended.wait(), 5)

    @pytest.mark.parametrize(
        "greeting",
        [
            b"",
            b"SSH-2.0-",
            b"SSH-1.5-old\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-x\r\n" + bytes(range(256)),
        ],
    )
    async def test_one_that_speaks_something_else_is_not_ready(self, greeting: bytes) -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        async with tcp_server(greet) as port:
            with pytest.raises(SshNotReady):
                await AsyncsshProbe().handshake(port, SOME_KEY)

    async def test_nothing_of_the_account_is_used(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A configuration that would break any connection, an agent that would notice being asked."""
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text("Host *\n  ProxyCommand /bin/false\n  HostKeyAlgorithms ssh-dss\n")
        asked: list[object] = []

        async def notice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(writer)
            writer.close()

        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        pair = AsyncsshKeys().generate_host_key()
        port = await serve(asyncssh.import_private_key(pair.private))
        async with await asyncio.start_unix_server(notice, tmp_path / "agent"):
            await AsyncsshProbe().handshake(port, pair.public)

        assert asked == []

    async def test_cancelling_it_is_not_an_answer(self) -> None:
        began = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began.set()
            await reader.read()
            writer.close()

        async with tcp_server(say_nothing) as port:
            handshake = asyncio.create_task(AsyncsshProbe().handshake(port, SOME_KEY))
            await began.wait()
            handshake.cancel()
            with pytest.raises(asyncio.CancelledError):
                await handshake


def library_exceptions() -> list[type[Exception]]:
    """Every exception class that any of asyncssh's modules defines."""
    found: set[type[Exception]] = set()
    for module in pkgutil.iter_modules(asyncssh.__path__, "asyncssh."):
        try:
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        except ImportError:
            continue  # for Windows, or for a library that is not installed
        found.update(
            kind for _, kind in members if issubclass(kind, Exception) and kind.__module__.startswith("asyncssh")
        )
    return sorted(found, key=lambda kind: kind.__name__)


def an(kind: type[Exception]) -> Exception:
    """One of these, past its constructor, whose arguments differ from class to class."""
    return kind.__new__(kind)


def test_there_are_library_exceptions_to_map() -> None:
    assert {asyncssh.KeyImportError, asyncssh.ConnectionLost, asyncssh.ProcessError} < set(library_exceptions())


@pytest.mark.parametrize("kind", [*library_exceptions(), OSError, TimeoutError, ValueError, IndexError])
class TestEveryExceptionIsMapped:
    async def test_of_a_handshake(self, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise an(kind)

        monkeypatch.setattr(asyncssh, "get_server_host_key", fail)

        with pytest.raises(SshNotReady) as mapped:
            await AsyncsshProbe().handshake(2222, SOME_KEY)

        assert isinstance(mapped.value.__cause__, kind)
        assert mapped.value.why

    def test_of_a_key(self, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: str) -> None:
            raise an(kind)

        monkeypatch.setattr(asyncssh, "import_public_key", fail)

        with pytest.raises(InvalidSshKey) as mapped:
            AsyncsshKeys().parse(ED25519)

        assert isinstance(mapped.value.__cause__, kind)


async def test_a_server_without_a_host_key_is_not_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_key(*_: object, **__: object) -> None:
        return None  # as with GSS key exchange

    monkeypatch.setattr(asyncssh, "get_server_host_key", no_key)

    with pytest.raises(HostKeyMismatch, match="no key"):
        await AsyncsshProbe().handshake(2222, SOME_KEY)
