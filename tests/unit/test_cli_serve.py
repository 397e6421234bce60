"""``nexus serve`` in this process: its socket, its log, its beginning and its end."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from nexus_cli import logs, serve
from nexus_cli.listening import AddressInUse, AddressUnusable, listen, url_of
from nexus_cli.main import main
from nexus_wiring.container import Container
from nexus_wiring.settings import Settings
from nexus_wiring.state import StateDirectory
from serve_with_fakes import wired_with_fakes


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Undo what a server does to its process."""
    mask = os.umask(0o022)
    os.umask(mask)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    os.umask(mask)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


class TestListen:
    def test_a_free_port(self) -> None:
        with closing(listen(("127.0.0.1", 0))) as sock:
            assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
            socket.create_connection(sock.getsockname()).close()  # early clients wait instead of being refused

    def test_ipv6(self) -> None:
        if not socket.has_ipv6:
            pytest.skip("this machine has no IPv6")
        try:
            sock = listen(("::1", 0))
        except AddressUnusable:
            pytest.skip("this machine has no IPv6 on the loopback device")
        with closing(sock):
            assert url_of(sock).startswith("http://[::1]:")

    def test_an_address_is_taken_at_once(self) -> None:
        with closing(listen(("127.0.0.1", 0))) as sock, pytest.raises(AddressInUse):
            listen(sock.getsockname())

    @pytest.mark.parametrize("host", ["192.0.2.1", "nexus.invalid", "a" * 70])
    def test_addresses_that_are_not_ours(self, host: str) -> None:
        with pytest.raises(AddressUnusable):
            listen((host, 0))


class TestLogs:
    @pytest.fixture
    def stream(self) -> io.StringIO:
        return io.StringIO()

    def test_json_with_its_fields(self, stream: io.StringIO) -> None:
        logs.configure("info", stream)
        logging.getLogger("nexus").info("it %s", "happened", extra={"workspace_id": "ws-1"})
        logging.getLogger("nexus").debug("not shown")
        structlog.get_logger("nexus").warning("line\nbreak\x1b[2J", port=1)
        first, second = map(json.loads, stream.getvalue().splitlines())
        assert (first["event"], first["workspace_id"], first["level"]) == ("it happened", "ws-1", "info")
        assert (second["event"], second["port"], second["level"]) == ("line\nbreak\x1b[2J", 1, "warning")
        assert "\x1b" not in stream.getvalue()

    def test_a_line_for_people(self, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "isatty", lambda: True)
        logs.configure("warning", stream)
        try:
            raise ValueError("no\x1b[2J")
        except ValueError:
            logging.getLogger("nexus").exception("it\x1b[2J failed\nfor good")
        (line,) = stream.getvalue().splitlines()
        assert "level='error'" in line
        assert "\x1b" not in line

    def test_chatty_libraries_are_silent(self, stream: io.StringIO) -> None:
        logs.configure("debug", stream)
        logging.getLogger("uvicorn.error").info("Started")
        assert stream.getvalue() == ""


class Running:
    """A server of this process; ``act`` is called in a thread once it answers, and then it is stopped."""

    def __init__(self, state: Path) -> None:
        state.mkdir(mode=0o700)
        self.settings = Settings(listen="127.0.0.1:0", state_dir=str(state))
        self.container = wired_with_fakes(self.settings, set())
        self.warnings: list[str] = []

    def until(self, capsys: pytest.CaptureFixture[str], act: Callable[[str], None]) -> tuple[int, str]:
        """The exit code and what was written."""
        written: list[str] = []
        ended = threading.Event()

        def watch() -> None:
            while "listens on" not in "".join(written):
                if ended.wait(0.01):
                    return  # it did not come up: nobody is there to be stopped
                written.append(capsys.readouterr().err)
            try:
                act("".join(written).partition("listens on ")[2].partition(";")[0])
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            code = serve.run(self.settings, self.warnings, lambda settings: self.container)
        finally:
            ended.set()
            thread.join()
        written.append(capsys.readouterr().err)
        return code, "".join(written)


class TestRun:
    def test_from_start_to_end(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        server = Running(tmp_path / "state")
        server.warnings.append("a variable that nobody reads")
        health: dict[str, Any] = {}

        def ask(url: str) -> None:
            with urllib.request.urlopen(f"{url}/api/v1/health") as answer:  # noqa: S310  # our own server
                health.update(json.load(answer))

        code, written = server.until(capsys, ask)
        assert code == 0
        assert health["status"] == "ok"
        assert "a variable that nobody reads" in written
        assert (tmp_path / "state" / "admin-token").read_text().strip() not in written
        os.close(StateDirectory(tmp_path / "state").hold())  # the lock is given back

    def test_everything_is_closed_in_order(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = Running(tmp_path / "state")
        closed: list[str] = []
        store, nexus = server.container.store(), server.container.nexus()
        end = nexus.close

        async def close_nexus() -> None:
            closed.append("nexus")
            await end()

        async def close_provider() -> None:
            closed.append("provider")

        real_close = store.close

        def close_store() -> None:
            closed.append("store")
            real_close()

        monkeypatch.setattr(nexus, "close", close_nexus)
        monkeypatch.setattr(server.container.provider(), "close", close_provider, raising=False)
        monkeypatch.setattr(store, "close", close_store)
        server.until(capsys, lambda url: None)
        assert closed == ["nexus", "provider", "store"]

    def test_what_a_crash_left_is_taken_up(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        server = Running(tmp_path / "state")
        nexus = server.container.nexus()
        opened = nexus.open

        async def resume() -> int:
            return await opened() + 3

        nexus.open = resume  # type: ignore[method-assign]  # as if three operations had been left
        _, written = server.until(capsys, lambda url: None)
        assert '"operations": 3' in written

    def test_an_error_while_opening_closes_what_is_open(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Running(tmp_path / "state")
        store = server.container.store()
        (tmp_path / "state" / "admin-token").write_text("nonsense")

        def wire(settings: Settings) -> Container:
            return server.container

        monkeypatch.setattr(serve, "wire", wire)
        monkeypatch.setenv("NEXUS_LISTEN", "127.0.0.1:0")
        monkeypatch.delenv("NEXUS_CONFIG", raising=False)
        assert main(["serve", "--state-dir", str(tmp_path / "state")]) == 1
        with pytest.raises(Exception, match="closed"):
            store.check_writable()
        os.close(StateDirectory(tmp_path / "state").hold())


class TestCommand:
    def test_errors_have_the_exit_code_of_their_branch(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NEXUS_CONFIG", raising=False)
        assert main(["serve", "--listen", "x"]) == 2
        assert "(invalid_settings)" in capsys.readouterr().err
        with closing(listen(("127.0.0.1", 0))) as sock:
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            assert main(["serve", "--listen", address, "--state-dir", str(tmp_path)]) == 6
        assert "fix: Stop that program" in capsys.readouterr().err

    def test_nothing_is_opened_by_wiring(self, tmp_path: Path) -> None:
        container = serve.wire(Settings(state_dir=str(tmp_path / "state")))
        assert isinstance(container.state(), StateDirectory)
        assert not (tmp_path / "state").exists()

    def test_the_real_parts_fit_together(self, tmp_path: Path) -> None:
        state = tmp_path / "state"
        state.mkdir()
        container: Container = serve.wire(Settings(state_dir=str(state)))
        with closing(container.store()):
            assert container.nexus().policy.default_image == "nexus-base"
