"""Real git servers on the workspaces' bridge, with repositories made for the occasion."""

from __future__ import annotations

import asyncio
import base64
import os
import queue
import shlex
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
from git_daemon import bridge_address


def git(folder: Path, *arguments: str, **more: str) -> str:
    """What git answers in this folder, with an author of its own."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _ALICE.items()},
        **more,
    }
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str], message: str = "change") -> str:
    """Write these files and commit them; the commit's id."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A repository of two commits whose branch is main; the second one holds these files."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, {"README": "first\n"}, "first")
    commit(folder, files, "second")
    return folder


@contextmanager
def web(folder: Path, password: str) -> Generator[str]:
    """git's own program for the web, for whoever brings this password; the address to put a name behind."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            _, _, sent = self.headers.get("Authorization", "").partition(" ")
            if base64.b64decode(sent).decode().partition(":")[2] != password:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "somebody",
            }
            done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = _answer  # noqa: N815  # the name it has
        do_POST = _answer  # noqa: N815  # the name it has

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it has
            """Tests are quiet."""

    server = ThreadingHTTPServer((bridge_address(), 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{bridge_address()}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def shell(folder: Path, authorized: Path) -> Generator[str]:
    """Repositories by ssh, for whoever has the private half of this key; the address to put a name behind."""
    started: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        program, path = shlex.split(process.command or "")
        assert program == "git-upload-pack"
        environment = {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
        environment["GIT_CONFIG_VALUE_0"] = "*"
        pack = await asyncio.create_subprocess_exec(
            program,
            str(folder / path.lstrip("/")),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert pack.stdin is not None
        assert pack.stdout is not None
        asking = asyncio.create_task(_copy(process.stdin, pack.stdin))
        await _copy(pack.stdout, process.stdout)
        asking.cancel()
        process.exit(await pack.wait())

    async def serve() -> None:
        stop = asyncio.Event()
        listener = await asyncssh.listen(
            bridge_address(),
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=str(authorized),
            process_factory=answer,
            encoding=None,
        )
        started.put((listener.get_port(), asyncio.get_running_loop(), stop))
        await stop.wait()
        listener.close()
        await listener.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    port, loop, stop = started.get(timeout=10)
    try:
        yield f"ssh://git@{bridge_address()}:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _copy(source: Any, sink: Any) -> None:
    """Pass everything on, and then the end."""
    while content := await source.read(65536):
        sink.write(content)
        await sink.drain()
    sink.write_eof()


_ALICE = {"NAME": "Alice", "EMAIL": "alice@example.com", "DATE": "2026-01-17T10:30:00Z"}
