"""A server that answers what a test tells it to, for the command line's tests: real sockets, made-up answers."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import pytest

from nexus_cli.main import main

TOKEN = "nxs_" + "t" * 43
WS = "ws-8f3k2m9q4t1z"
ACCEPTED = {
    "workspace_id": WS,
    "name": "web",
    "owner": "alice",
    "status": "creating",
    "ssh_port": 2222,
    "polling_url": f"/api/v1/workspaces/{WS}/status",
    "estimated_time_seconds": 3,
    "created_at": "2026-01-17T10:30:00Z",
}
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQ5yRkVBWC5kCVa9Cm0qGZpvcB5QwIYWWwFGi4DrLCh"


_CHUNKED = {"Content-Type": "text/plain; charset=utf-8", "Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class Said:
    """One answer; None as the body sends none, text is sent as it is, and ``hang_up`` sends nothing at all.

    ``pieces`` are sent instead of a body, one by one as they come; ``cut`` ends them without an end.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hang_up: bool = False
    pieces: Iterable[bytes] | None = None
    cut: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; ``body`` is what its JSON says, or bytes that are not JSON."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class StubApi:
    """Listens on a free port; `on` plans answers, `asked` has what came in."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._planned: defaultdict[tuple[str, str], list[Said]] = defaultdict(list)
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Answer requests with these, in order; the last one again and again. What is no `Said` is a body."""
        said = [one if isinstance(one, Said) else Said(body=one) for one in answers]
        self._planned[method, f"/api/v1{path}"] += said

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                content = self.rfile.read(length)
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = _understood(content, headers)
                stub.asked.append(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body))
                said = stub._next(self.command, parts.path)
                if said.hang_up:
                    self.close_connection = True
                    return
                payload = said.body.encode() if isinstance(said.body, str) else json.dumps(said.body).encode()
                self.send_response(said.status)
                chunked = {} if said.pieces is None else _CHUNKED
                for name, value in {**chunked, **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if said.pieces is not None:
                    _stream(self.wfile, said)
                elif said.body is not None:
                    self.wfile.write(payload)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):  # do_GET, do_POST, …: all the same here
                    return self._answer
                raise AttributeError(name)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
                pass

        return Handler

    def _next(self, method: str, path: str) -> Said:
        planned = self._planned[method, path]
        if not planned:
            return refusal(404, "not_found", f"no answer is planned for {method} {path}")
        return planned.pop(0) if len(planned) > 1 else planned[0]


def _understood(content: bytes, headers: Mapping[str, str]) -> Any:
    if headers.get("content-type") == "application/octet-stream":
        return content
    return json.loads(content) if content else None


def _stream(out: BufferedIOBase, said: Said) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # clients that have seen enough
        for piece in said.pieces or ():
            out.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            out.flush()
        if not said.cut:
            out.write(b"0\r\n\r\n")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands against a stub, in this process."""

    def __init__(self, api: StubApi, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self.state = state
        self._capsys = capsys

    def __call__(self, *argv: str) -> Outcome:
        self._capsys.readouterr()
        code = main(argv)
        captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)


@contextmanager
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Generator[Shell]:
    """A stub, and a user who is connected to it and waits for nothing."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    state = tmp_path / "state"
    with StubApi() as api:
        for name in ("NEXUS_USER", "NEXUS_CONFIG", "NEXUS_REPO_TOKEN", "FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NEXUS_URL", api.url)
        monkeypatch.setenv("NEXUS_TOKEN", TOKEN)
        monkeypatch.setenv("NEXUS_STATE_DIR", str(state))
        yield Shell(api, state, capsys)


def refusal(status: int, code: str, message: str, *, retry_after: int | None = None, **details: Any) -> Said:
    """An error as the API sends it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"error": code, "message": message, "details": details, "request_id": "req-5d0c4be2a1f7"}
    return Said(status, body, headers)


def stream(*blocks: str, cut: bool = False) -> Said:
    """A stream of events: each block is sent by itself."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    return Said(headers=headers, pieces=[block.encode() for block in blocks], cut=cut)


HEARTBEAT = "retry: 1000\n: heartbeat\n"


def block(identifier: int, kind: str, **data: Any) -> str:
    """One event as it goes over the wire."""
    told = {
        "id": identifier,
        "kind": kind,
        "workspace_id": WS,
        "name": "web",
        "owner": "alice",
        "at": "2026-01-17T10:30:00Z",
        "error": None,
        **data,
    }
    return f"id: {identifier}\nevent: {kind}\ndata: {json.dumps(told)}\n\n"


def step_block(identifier: int, name: str, status: str, duration_ms: int | None = None, **data: Any) -> str:
    """An event of a step."""
    return block(identifier, "step", operation="create", step=name, status=status, duration_ms=duration_ms, **data)


def summary(name: str = "web", identifier: str = WS, **changes: Any) -> dict[str, Any]:
    """A workspace as lists have it."""
    return {
        "workspace_id": identifier,
        "name": name,
        "owner": "alice",
        "status": "running",
        "provider": "lxc",
        "ssh_port": 2222,
        "created_at": "2026-01-17T10:30:00Z",
        "services_count": 0,
        **changes,
    }


def page(*workspaces: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {
        "workspaces": list(workspaces),
        "total": len(workspaces) if total is None else total,
        "limit": 50,
        "offset": 0,
    }


def step(name: str, status: str = "done", duration_ms: int | None = 612) -> dict[str, Any]:
    """One step of the progress."""
    return {"step": name, "status": status, "started_at": None, "duration_ms": duration_ms, "error": None}


def service(name: str = "web", **changes: Any) -> dict[str, Any]:
    """A service; it runs and is forwarded unless told otherwise."""
    return {
        "name": name,
        "status": "running",
        "port": 3000,
        "mapped_port": 23000,
        "health": "healthy",
        "url": "http://localhost:23000",
        "depends_on": [],
        "last_check": "2026-01-17T10:31:30Z",
        "error": None,
        **changes,
    }


def workspace(**changes: Any) -> dict[str, Any]:
    """A whole workspace; it runs unless told otherwise."""
    return {
        "workspace_id": WS,
        "owner": "alice",
        "name": "web",
        "status": "running",
        "provider": "lxc",
        "image": "ubuntu:22.04",
        "resources": {"cpu": 2, "memory": "4GiB", "disk": "20GiB"},
        "ssh": {
            "host": "staging.example.com",
            "port": 2222,
            "user": "dev",
            "host_key": HOST_KEY,
            "host_key_fingerprint": "SHA256:abc",
            "command": "ssh -p 2222 dev@staging.example.com",
        },
        "services": {},
        "repository": None,
        "node": "staging-1",
        "container_id": "nexus-8f3k2m9q4t1z",
        "progress": [step("create_instance"), step("wait_for_ssh", duration_ms=4210), step("run_setup", "skipped")],
        "queue_position": None,
        "notes": [],
        "error": None,
        "created_at": "2026-01-17T10:30:00Z",
        "updated_at": "2026-01-17T10:30:00Z",
        "started_at": "2026-01-17T10:30:05Z",
        "stopped_at": None,
        "last_activity_at": "2026-01-17T10:30:05Z",
        **changes,
    }
