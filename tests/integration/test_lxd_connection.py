"""The LXD adapter against a server that says what LXD says in its bad moments."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contracts.provider_contract import MakeSpec, specs_of
from nexus_core.errors import ImageUnavailable, ProviderFailed, ProviderUnavailable, UnknownImage
from nexus_core.ports.provider import InstanceState
from nexus_lxd import files, removal, stencils
from nexus_lxd.connection import Connection
from nexus_lxd.errors import Refusal
from nexus_lxd.instances import FINISHED, SERVER, STENCIL, WORKSPACE
from nexus_lxd.provider import LxdProvider

Answer = tuple[int, Any]
Handler = Callable[[dict[str, str]], Answer]

SERVER_RECORD = {"auth": "trusted", "environment": {"server_name": "node-1", "server_version": "5.0"}}
OPERATION = "/1.0/operations/op-1"


def sync(metadata: Any) -> Answer:
    """An answer with its result."""
    return 200, {"type": "sync", "status_code": 200, "metadata": metadata}


def error(status: int, reason: str) -> Answer:
    """An answer that is a refusal."""
    return status, {"type": "error", "error": reason, "error_code": status}


def operation(status_code: int, err: str = "", **metadata: Any) -> dict[str, Any]:
    """An operation's record."""
    return {"id": "op-1", "status_code": status_code, "err": err, "metadata": metadata}


NOTHING = error(404, "Instance not found")
RUNNING = (202, {"type": "async", "metadata": operation(103)})
DONE = sync(operation(200))


class ScriptedLxd(ThreadingMixIn, UnixStreamServer):
    """Answers each request from a script: the last answer to a method and path is repeated."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.script: dict[str, list[Answer | Handler]] = {"GET /1.0": [sync(SERVER_RECORD)]}
        self.requests: list[str] = []
        super().__init__(path, _Handler)

    def on(self, request: str, *answers: Answer | Handler) -> None:
        """What ``METHOD /path`` is answered, one after the other."""
        self.script[request] = list(answers)

    def count(self, request: str) -> int:
        """How often that was requested."""
        return self.requests.count(request)

    def answer(self, request: str, query: dict[str, str]) -> Answer:
        """The next answer."""
        self.requests.append(request)
        answers = self.script.get(request, [error(404, "Not found")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(query) if callable(answer) else answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        assert isinstance(self.server, ScriptedLxd)
        status, body = self.server.answer(f"{self.command} {url.path}", query)
        if status == 101:
            self._become_websocket(body)
            return
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _become_websocket(self, frames: bytes) -> None:
        """Send what there is and break off."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # by RFC 6455
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(frames)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815  # http.server's names

    def address_string(self) -> str:
        return "unix"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent."""


@pytest.fixture
def lxd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[ScriptedLxd]:
    for module, name in ((removal, "_PAUSE"), (files, "_PAUSE"), (stencils, "_PAUSE")):
        monkeypatch.setattr(module, name, 0.001)
    server = ScriptedLxd(str(tmp_path / "socket"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def connection(lxd: ScriptedLxd) -> AsyncIterator[Connection]:
    connection = Connection(
        endpoint=str(lxd.server_address),
        client_cert=None,
        client_key=None,
        server_cert=None,
        project="nexus",
        workers=4,
    )
    yield connection
    await connection.close()


@pytest.fixture
async def provider(lxd: ScriptedLxd) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id="me", endpoint=str(lxd.server_address))
    yield provider
    await provider.close()


@pytest.fixture
def spec() -> MakeSpec:
    return specs_of("nexus-base")


def record(name: str = "nexus-a", status: str = "Stopped", server: str = "me") -> dict[str, Any]:
    """An instance as LXD shows it."""
    config = {SERVER: server, WORKSPACE: "ws-a", "user.nexus.address": "10.0.0.9/24"}
    devices = {"eth0": {"ipv4.address": "10.0.0.9"}}
    made = "2026-01-17T10:30:00.123456789Z"
    return {"name": name, "status": status, "config": config, "expanded_devices": devices, "created_at": made}


async def soon(condition: Callable[[], bool]) -> None:
    """Return when it has become true."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a thread makes it so
            await asyncio.sleep(0.005)


class TestSilence:
    """LXD takes requests and answers none."""

    async def test_others_are_told_at_once_until_it_answers(
        self, lxd: ScriptedLxd, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = threading.Event()

        def hang(_: dict[str, str]) -> Answer:
            release.wait(5)
            return sync("late")

        lxd.on("GET /1.0/profiles", hang)
        lxd.on("GET /1.0/images", sync([]))
        await connection.get("images")
        await connection.answers(60)
        with pytest.raises(ProviderUnavailable, match="in time"):
            await connection.get("profiles", within=0.1)
        asked = len(lxd.requests)
        for refused in (connection.get("images"), connection.send("post", "images"), connection.answers(60)):
            with pytest.raises(ProviderUnavailable, match="in time"):
                await refused
        assert len(lxd.requests) == asked
        # Whether it is back is asked all the same.
        assert await connection.get("images", urgent=True) == []
        assert await connection.get("images") == []
        await connection.answers(60)
        monkeypatch.setattr("nexus_lxd.silence._SPARED", 0.0)
        with pytest.raises(ProviderUnavailable):
            await connection.get("profiles", within=0.1)
        assert await connection.get("images") == []
        release.set()

    async def test_an_operation_that_cannot_even_be_cancelled_is_left(
        self, lxd: ScriptedLxd, connection: Connection
    ) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(103)))
        lxd.on(f"DELETE {OPERATION}", (503, b"going down"))
        with pytest.raises(ProviderUnavailable):
            await connection.operate("post", "instances", json={}, within=0)


class TestOperations:
    async def test_one_that_takes_several_waits(self, lxd: ScriptedLxd, connection: Connection) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(103)), sync(operation(105)), sync(operation(200, answer=42)))
        done = await connection.operate("post", "instances", json={}, within=60)
        assert done["metadata"] == {"answer": 42}

    async def test_one_that_failed_says_why(self, lxd: ScriptedLxd, connection: Connection) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(400, "No space left in /var/lib/lxd/x")))
        with pytest.raises(Refusal, match="No space left in …"):
            await connection.operate("post", "instances", json={}, within=60)

    async def test_one_that_is_forgotten_means_that_lxd_was_restarted(
        self, lxd: ScriptedLxd, connection: Connection
    ) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        with pytest.raises(ProviderUnavailable, match="restarted"):
            await connection.operate("post", "instances", json={}, within=60)

    async def test_one_that_breaks_off_is_away(self, lxd: ScriptedLxd, connection: Connection) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", (503, b"going down"))
        with pytest.raises(ProviderUnavailable):
            await connection.operate("post", "instances", json={}, within=60)

    async def test_one_that_takes_too_long_is_cancelled(self, lxd: ScriptedLxd, connection: Connection) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(103)), sync(operation(103)), sync(operation(401, "cancelled")))
        lxd.on(f"DELETE {OPERATION}", sync({}))
        with pytest.raises(Refusal, match="cancelled"):
            await connection.operate("post", "instances", json={}, within=0)
        assert lxd.count(f"DELETE {OPERATION}") == 1

    async def test_one_that_neither_ends_nor_can_be_cancelled_is_given_up(
        self, lxd: ScriptedLxd, connection: Connection
    ) -> None:
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(103)))
        with pytest.raises(Refusal, match="did not finish"):
            await connection.operate("post", "instances", json={}, within=0, linger=0.01)

    async def test_a_cancelled_caller_has_it_cancelled_and_waits_for_its_end(
        self, lxd: ScriptedLxd, connection: Connection
    ) -> None:
        ended = threading.Event()

        def wait(_: dict[str, str]) -> Answer:
            return sync(operation(401, "cancelled") if ended.wait(0.02) else operation(103))

        def end(_: dict[str, str]) -> Answer:
            ended.set()
            return sync({})

        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", wait)
        lxd.on(f"DELETE {OPERATION}", end)
        task = asyncio.create_task(connection.operate("post", "instances", json={}, within=60))
        await soon(lambda: lxd.count(f"GET {OPERATION}/wait") > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lxd.count(f"DELETE {OPERATION}") == 1

    async def test_one_still_in_the_queue_is_taken_out_of_it(self, lxd: ScriptedLxd) -> None:
        narrow = Connection(
            endpoint=str(lxd.server_address),
            client_cert=None,
            client_key=None,
            server_cert=None,
            project="nexus",
            workers=1,
        )
        lxd.on("POST /1.0/instances", RUNNING)
        lxd.on(f"GET {OPERATION}/wait", sync(operation(103)))
        first = asyncio.create_task(narrow.operate("post", "instances", json={}, within=60))
        await soon(lambda: lxd.count(f"GET {OPERATION}/wait") > 0)
        queued = asyncio.create_task(narrow.send("put", "instances", "a", json={}))
        await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        await narrow.close()
        with pytest.raises((Refusal, ProviderUnavailable)):
            await first
        with pytest.raises(ProviderUnavailable, match="closing"):
            await narrow.get()
        assert lxd.count("PUT /1.0/instances/a") == 0


class TestAnswers:
    async def test_the_project_is_named_and_paths_are_quoted(self, lxd: ScriptedLxd, connection: Connection) -> None:
        asked: list[dict[str, str]] = []

        def remember(query: dict[str, str]) -> Answer:
            asked.append(query)
            return sync({"target": "f"})

        lxd.on("GET /1.0/images/aliases/ubuntu%3A22%2F04%20%3Fa", remember)
        await connection.get("images", "aliases", "ubuntu:22/04 ?a")
        lxd.on("GET /1.0/instances", remember)
        await connection.get("instances", all_projects=True)
        assert asked == [{"project": "nexus"}, {"all-projects": "true"}]

    async def test_a_server_that_comes_back_is_found(self, tmp_path: Path) -> None:
        path = str(tmp_path / "late")
        provider = LxdProvider(server_id="me", endpoint=path)
        assert not (await provider.status()).available
        server = ScriptedLxd(path)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert (await provider.status()).node == "node-1"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            await provider.close()

    async def test_another_program_behind_the_socket(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0", (200, b"hello"))
        status = await provider.status()
        assert not status.available
        assert status.error

    async def test_a_server_that_does_not_trust_us(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0", sync({"auth": "untrusted"}))
        status = await provider.status()
        assert not status.available
        assert "trust" in (status.error or "")

    async def test_a_server_that_refuses(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0", sync(SERVER_RECORD), error(500, "Database error"))
        status = await provider.status()
        assert (status.available, status.error) == (False, "Database error")


class TestImages:
    async def test_trouble_is_not_taken_for_an_unknown_image(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/images/aliases/a", error(500, "Database error"))
        with pytest.raises(ProviderFailed, match="Database error"):
            await provider.check_image("a")

    async def test_an_ambiguous_fingerprint_is_unknown(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/images/0123456789ab", error(400, "Image fingerprint matches more than one"))
        with pytest.raises(UnknownImage):
            await provider.check_image("0123456789ab")

    async def test_a_virtual_machines_image_will_not_do(
        self, lxd: ScriptedLxd, provider: LxdProvider, spec: MakeSpec
    ) -> None:
        lxd.on("GET /1.0/images/aliases/nexus-base", sync({"target": "f" * 64}))
        image = {"fingerprint": "f" * 64, "properties": {}, "type": "virtual-machine"}
        lxd.on(f"GET /1.0/images/{'f' * 64}", sync(image))
        lxd.on("GET /1.0/images", sync([]))
        with pytest.raises(ImageUnavailable, match="virtual machine"):
            await provider.create(spec())


class TestSite:
    @pytest.mark.parametrize(
        ("devices", "network", "words"),
        [
            ({}, {}, "not set up"),
            ({"eth0": {"network": "b"}}, {}, "not set up"),
            ({"eth0": {"network": "b"}, "root": {"path": "/", "pool": "p"}}, {"type": "ovn", "config": {}}, "carry"),
            (
                {"eth0": {"network": "b"}, "root": {"path": "/", "pool": "p"}},
                {"type": "bridge", "config": {"ipv4.address": "none"}},
                "carry",
            ),
        ],
    )
    async def test_a_project_that_is_not_set_up_says_so(
        self,
        lxd: ScriptedLxd,
        provider: LxdProvider,
        devices: dict[str, Any],
        network: dict[str, Any],
        words: str,
    ) -> None:
        ready_image(lxd)
        lxd.on("GET /1.0/profiles/default", sync({"devices": devices}))
        lxd.on("GET /1.0/networks/b", sync(network))
        with pytest.raises(ProviderFailed, match=words) as caught:
            await provider.create(specs_of("nexus-base")())
        assert "setup" in caught.value.fix


def ready_image(lxd: ScriptedLxd) -> None:
    """Let there be an image, and no stencil be made of it: LXD refuses the first creation."""
    lxd.on("GET /1.0/images/aliases/nexus-base", sync({"target": "f" * 64}))
    lxd.on(f"GET /1.0/images/{'f' * 64}", sync({"properties": {"nexus.ready": "1"}}))
    lxd.on("GET /1.0/instances", sync([]))
    lxd.on("POST /1.0/instances", error(400, "raw.lxc is forbidden"), RUNNING)
    lxd.on("GET /1.0/projects/nexus-stencils", sync({}))
    lxd.on(f"GET {OPERATION}/wait", DONE)


def ready_site(lxd: ScriptedLxd, address: str = "10.0.0.1/24") -> None:
    """Let the project be set up."""
    devices = {"eth0": {"network": "b", "name": "eth0"}, "root": {"path": "/", "pool": "p"}}
    lxd.on("GET /1.0/profiles/default", sync({"devices": devices}))
    lxd.on("GET /1.0/networks/b", sync({"type": "bridge", "config": {"ipv4.address": address}}))


class TestCreation:
    async def test_without_a_stencil_it_is_made_from_the_image(
        self, lxd: ScriptedLxd, provider: LxdProvider, spec: MakeSpec, caplog: pytest.LogCaptureFixture
    ) -> None:
        ready_image(lxd)
        ready_site(lxd)
        wanted = spec()
        lxd.on(f"POST /1.0/instances/{wanted.name}/files", sync({}))
        lxd.on(f"GET /1.0/instances/{wanted.name}", NOTHING, sync(record(wanted.name)))
        assert (await provider.create(wanted)).state is InstanceState.STOPPED
        assert "raw.lxc is forbidden" in caplog.text

    async def test_a_file_is_pushed_again_when_lxd_has_lost_its_helper(
        self, lxd: ScriptedLxd, provider: LxdProvider, spec: MakeSpec
    ) -> None:
        ready_image(lxd)
        ready_site(lxd)
        wanted = spec()
        push = f"POST /1.0/instances/{wanted.name}/files"
        lost = error(500, "dial unix /var/log/lxd/x/forkfile.sock: connect: no such file or directory")
        lxd.on(push, lost, lost, sync({}))
        lxd.on(f"GET /1.0/instances/{wanted.name}", NOTHING, sync(record(wanted.name)))
        await provider.create(wanted)
        assert lxd.count(push) == 6
        lxd.on(push, lost)
        lxd.on(f"GET /1.0/instances/{wanted.name}", NOTHING)
        with pytest.raises(ProviderFailed, match="dial unix …"):
            await provider.create(wanted)

    async def test_an_address_that_lxd_or_another_has_taken_is_passed_over(
        self, lxd: ScriptedLxd, provider: LxdProvider, spec: MakeSpec
    ) -> None:
        ready_image(lxd)
        ready_site(lxd)
        wanted = spec()
        mine, theirs = f"/1.0/instances/{wanted.name}?project=nexus", "/1.0/instances/other?project=default"
        taken = sync(operation(400, 'IP address "10.0.0.5" already defined on another NIC'))
        lxd.on(f"GET {OPERATION}/wait", taken, DONE)
        lxd.on("GET /1.0/instances", sync([]), sync([mine, theirs]), sync([mine]))
        lxd.on(f"PATCH /1.0/instances/{wanted.name}", error(400, "already defined on another NIC"), sync({}))
        lxd.on(f"POST /1.0/instances/{wanted.name}/files", sync({}))
        lxd.on(f"GET /1.0/instances/{wanted.name}", NOTHING, sync(record(wanted.name)))
        await provider.create(wanted)
        assert lxd.count(f"PATCH /1.0/instances/{wanted.name}") == 2

    async def test_a_full_subnet_is_an_error(self, lxd: ScriptedLxd, provider: LxdProvider, spec: MakeSpec) -> None:
        ready_image(lxd)
        ready_site(lxd, "10.0.0.1/30")
        wanted = spec()
        lxd.on("GET /1.0/instances", sync([]), sync(["/1.0/instances/other"]))
        lxd.on(f"PATCH /1.0/instances/{wanted.name}", sync({}))
        with pytest.raises(ProviderFailed, match="No address is free"):
            await provider.create(wanted)


class TestStencils:
    """The instances that others are copied from, when something is in their way."""

    NAME = f"nexus-stencil-{'f' * 12}"

    def stencil(self, **changes: str) -> dict[str, Any]:
        """Its record, finished."""
        config = {STENCIL: "f" * 64, FINISHED: "1"} | changes
        return {"name": self.NAME, "status": "Stopped", "config": config, "created_at": "2020-01-01T00:00:00.5Z"}

    @pytest.fixture(autouse=True)
    def image_is_there(self, lxd: ScriptedLxd) -> None:
        """There is an image, and LXD accepts what is asked of it."""
        ready_image(lxd)
        lxd.on("POST /1.0/instances", RUNNING)

    async def source(self, lxd: ScriptedLxd) -> str:
        """What the stencils' keeper says to make an instance from."""
        connection = Connection(
            endpoint=str(lxd.server_address),
            client_cert=None,
            client_key=None,
            server_cert=None,
            project="nexus",
            workers=2,
        )
        try:
            return str((await stencils.Stencils(connection, "nexus").source("f" * 64, "p"))["type"])
        finally:
            await connection.close()

    async def test_a_finished_one_is_copied(self, lxd: ScriptedLxd) -> None:
        lxd.on(f"GET /1.0/instances/{self.NAME}", sync(self.stencil()))
        assert await self.source(lxd) == "copy"
        assert lxd.count("POST /1.0/instances") == 0

    async def test_their_project_is_made_when_it_is_missing(self, lxd: ScriptedLxd) -> None:
        lxd.on("GET /1.0/projects/nexus-stencils", error(404, "Project not found"))
        lxd.on("POST /1.0/projects", sync({}))
        lxd.on(f"GET /1.0/instances/{self.NAME}", sync(self.stencil()))
        assert await self.source(lxd) == "copy"
        assert lxd.count("POST /1.0/projects") == 1

    async def test_another_servers_is_waited_for(self, lxd: ScriptedLxd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stencils, "_MAKING", timedelta.max)
        lxd.on(f"GET /1.0/instances/{self.NAME}", sync(self.stencil(**{FINISHED: ""})), sync(self.stencil()))
        assert await self.source(lxd) == "copy"
        assert lxd.count("POST /1.0/instances") == 0

    async def test_one_that_another_server_begins_first_will_do(self, lxd: ScriptedLxd) -> None:
        missing = error(404, "Instance not found")
        lxd.on(f"GET /1.0/instances/{self.NAME}", missing, missing, sync(self.stencil()))
        lxd.on("POST /1.0/instances", error(400, 'Instance is busy running a "create" operation'))
        assert await self.source(lxd) == "copy"

    async def test_somebodys_instance_of_that_name_is_left_alone(self, lxd: ScriptedLxd) -> None:
        lxd.on(f"GET /1.0/instances/{self.NAME}", sync(self.stencil(**{STENCIL: ""})))
        lxd.on("POST /1.0/instances", error(400, "already exists"))
        assert await self.source(lxd) == "image"
        assert lxd.count(f"DELETE /1.0/instances/{self.NAME}") == 0

    async def test_one_that_does_not_come_to_rest_is_stopped_and_then_given_up(self, lxd: ScriptedLxd) -> None:
        restless = sync(self.stencil() | {"status": "Running"})
        missing = error(404, "Instance not found")
        lxd.on(f"GET /1.0/instances/{self.NAME}", missing, missing, *[restless] * 101, missing)
        lxd.on(f"PUT /1.0/instances/{self.NAME}/state", RUNNING)
        lxd.on(f"DELETE /1.0/instances/{self.NAME}", RUNNING)
        assert await self.source(lxd) == "image"
        # Started, stopped, and stopped once more to be removed.
        assert lxd.count(f"PUT /1.0/instances/{self.NAME}/state") == 3

    async def test_one_that_cannot_be_finished_is_removed(self, lxd: ScriptedLxd) -> None:
        missing = error(404, "Instance not found")
        there = sync(self.stencil())
        lxd.on(f"GET /1.0/instances/{self.NAME}", missing, missing, there, there, there, missing)
        lxd.on(f"PUT /1.0/instances/{self.NAME}/state", RUNNING)
        busy = error(400, "Instance is busy")
        lxd.on(f"PATCH /1.0/instances/{self.NAME}", busy, error(400, "Invalid config"))
        lxd.on(f"DELETE /1.0/instances/{self.NAME}", RUNNING)
        assert await self.source(lxd) == "image"
        assert lxd.count(f"DELETE /1.0/instances/{self.NAME}") == 1

    async def test_those_of_images_that_are_gone_are_removed(self, lxd: ScriptedLxd) -> None:
        old = self.stencil(**{STENCIL: "a" * 64}) | {"name": "old"}
        missing = error(404, "Instance not found")
        lxd.on("GET /1.0/instances", sync([old, self.stencil(), record()]))
        lxd.on(f"GET /1.0/instances/{self.NAME}", missing, missing, sync(self.stencil()))
        lxd.on(f"PUT /1.0/instances/{self.NAME}/state", RUNNING)
        lxd.on(f"PATCH /1.0/instances/{self.NAME}", sync({}))
        lxd.on("GET /1.0/instances/old", sync(old), missing)
        lxd.on("DELETE /1.0/instances/old", RUNNING)
        assert await self.source(lxd) == "copy"
        assert lxd.count("DELETE /1.0/instances/old") == 1


class TestStopAndDelete:
    async def test_a_busy_instance_is_waited_for(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        busy = error(400, 'Instance is busy running a "create" operation')
        lxd.on("GET /1.0/instances/nexus-a", sync(record()), sync(record()), sync(record()), error(404, "Not found"))
        lxd.on("DELETE /1.0/instances/nexus-a", busy, busy, RUNNING)
        lxd.on(f"GET {OPERATION}/wait", DONE)
        await provider.delete("nexus-a")
        assert lxd.count("DELETE /1.0/instances/nexus-a") == 3

    async def test_a_record_that_lxd_cannot_remove_is_an_error_after_a_few_tries(
        self, lxd: ScriptedLxd, provider: LxdProvider
    ) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record(status="Error")))
        lxd.on("PUT /1.0/instances/nexus-a/state", error(500, "no such container"))
        lxd.on("DELETE /1.0/instances/nexus-a", error(500, "Failed to remove /var/lib/lxd/containers/x"))
        with pytest.raises(ProviderFailed, match="Failed to remove …"):
            await provider.delete("nexus-a")
        assert lxd.count("DELETE /1.0/instances/nexus-a") == 3

    async def test_what_vanishes_meanwhile_is_deleted(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record(status="Error")), error(404, "Not found"))
        await provider.delete("nexus-a")

    async def test_a_grace_that_runs_out_ends_in_force(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record(status="Running")))
        lxd.on("PUT /1.0/instances/nexus-a/state", RUNNING)
        lxd.on("POST /1.0/instances/nexus-a/exec", RUNNING)
        late = sync(operation(400, "context deadline exceeded"))
        busy = sync(operation(400, "Instance is busy"))
        lxd.on(f"GET {OPERATION}/wait", late, late, DONE, busy, DONE)
        await provider.stop("nexus-a", grace=5)
        assert lxd.count("PUT /1.0/instances/nexus-a/state") == 4
        assert lxd.count("POST /1.0/instances/nexus-a/exec") == 1

    async def test_one_that_stops_by_itself_at_that_moment_is_stopped(
        self, lxd: ScriptedLxd, provider: LxdProvider
    ) -> None:
        stopped = error(400, "The instance is already stopped")
        lxd.on("GET /1.0/instances/nexus-a", sync(record(status="Running")))
        lxd.on("PUT /1.0/instances/nexus-a/state", stopped)
        await provider.stop("nexus-a", grace=5)
        await provider.stop("nexus-a", grace=0)

    async def test_one_that_will_not_stop_is_an_error(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record(status="Running")))
        lxd.on("PUT /1.0/instances/nexus-a/state", error(500, "it clings to life"))
        with pytest.raises(ProviderFailed, match="clings"):
            await provider.stop("nexus-a", grace=0)

    async def test_one_that_somebody_else_starts_at_that_moment_is_started(
        self, lxd: ScriptedLxd, provider: LxdProvider
    ) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record()))
        lxd.on("PUT /1.0/instances/nexus-a/state", error(400, "The instance is already running"))
        assert (await provider.start("nexus-a")).address == "10.0.0.9"
        lxd.on("PUT /1.0/instances/nexus-a/state", error(400, "No memory"))
        with pytest.raises(ProviderFailed, match="No memory"):
            await provider.start("nexus-a")

    async def test_one_that_lxd_is_just_starting_by_itself_is_waited_for(
        self, lxd: ScriptedLxd, provider: LxdProvider
    ) -> None:
        lxd.on("GET /1.0/instances/nexus-a", sync(record()), NOTHING, sync(record()), sync(record(status="Running")))
        lxd.on("PUT /1.0/instances/nexus-a/state", error(400, "Instance is busy running a start operation"))
        assert (await provider.start("nexus-a")).state is InstanceState.RUNNING
        assert lxd.count("PUT /1.0/instances/nexus-a/state") == 3
        lxd.on("GET /1.0/instances/nexus-a", sync(record()))
        with pytest.raises(ProviderFailed, match="busy"):
            await provider.start("nexus-a")

    @pytest.mark.parametrize(("last", "expected"), [("RUNNING", True), ("STOPPED", False)])
    async def test_what_seems_cut_off_is_looked_at_again(
        self, lxd: ScriptedLxd, provider: LxdProvider, monkeypatch: pytest.MonkeyPatch, last: str, expected: bool
    ) -> None:
        monkeypatch.setattr("nexus_lxd.provider._SETTLED_AFTER", 0.001)
        first, second = record(), record()
        first["config"]["volatile.last_state.power"] = "RUNNING"
        second["config"]["volatile.last_state.power"] = last
        lxd.on("GET /1.0/instances/nexus-a", sync(first), sync(second))
        lxd.on("GET /1.0/instances", sync([first]), sync([second]))
        assert (await provider.observe("nexus-a")).cut_off is expected
        assert [one.cut_off for one in await provider.instances()] == [expected]

    async def test_a_refusal_to_look_is_no_absence(self, lxd: ScriptedLxd, provider: LxdProvider) -> None:
        lxd.on("GET /1.0/instances/nexus-a", error(500, "Database error"))
        with pytest.raises(ProviderFailed, match="Database error"):
            await provider.observe("nexus-a")


async def test_a_cancelled_call_gets_away_from_a_hanging_lxd_in_ten_seconds(
    lxd: ScriptedLxd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here in a hundredth of that."""
    monkeypatch.setattr("nexus_lxd.lanes.PATIENCE", 0.1)
    release = threading.Event()

    def hang(_: dict[str, str]) -> Answer:
        release.wait(5)
        return DONE

    provider = LxdProvider(server_id="me", endpoint=str(lxd.server_address))
    lxd.on("GET /1.0/instances/nexus-a", sync(record()))
    lxd.on("PUT /1.0/instances/nexus-a/state", RUNNING)
    lxd.on(f"GET {OPERATION}/wait", hang)
    task = asyncio.create_task(provider.start("nexus-a"))
    await soon(lambda: lxd.count(f"GET {OPERATION}/wait") > 0)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1
    release.set()
    await provider.close()
