"""``nexus serve``: the whole server in one process, from settings to the last closed connection."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from cyclopts import Parameter

from nexus_cli import logs
from nexus_cli.errors import CannotServe
from nexus_cli.exit_codes import ExitCode
from nexus_cli.listening import hand_over, url_of
from nexus_cli.listening import listen as listen_on
from nexus_core.errors import Conflict, Invalid, NexusError, Unavailable
from nexus_wiring.settings import Settings, load

if TYPE_CHECKING:
    from nexus_wiring.container import Container

_log = logging.getLogger(__name__)

DISTRIBUTION = "nexus-workspaces"


def serve(
    *,
    listen: Annotated[str | None, Parameter(help="Address and port of the HTTP API. [default: 127.0.0.1:3001]")] = None,
    state_dir: Annotated[
        Path | None, Parameter(help="Directory of the database and the administrator's token.")
    ] = None,
    config: Annotated[
        Path | None, Parameter(env_var="NEXUS_CONFIG", help="Settings file; see docs/reference/settings.md.")
    ] = None,
) -> int:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM).

    SIGHUP restarts it in place, as after an upgrade: requests under way are ended well, and whoever
    connects meanwhile waits and is not refused. Settings come from the file, then from NEXUS_
    variables, then from these options; the last one wins. Workspaces run on while the server is
    stopped.
    """
    try:
        chosen = {"listen": listen, "state_dir": None if state_dir is None else str(state_dir)}
        settings, warnings = load(config, os.environ, chosen)
        return run(settings, warnings)
    except NexusError as error:
        raise cannot_serve(error) from error


def run(settings: Settings, warnings: list[str], assemble: Callable[[Settings], Container] | None = None) -> int:
    """Serve with these settings until SIGTERM or SIGINT; the exit code.

    ``assemble`` puts the parts together; programs and tests that exchange some give their own. Raises
    `NexusError` where the server cannot start.
    """
    os.umask(0o077)
    _raise_open_files()
    # Threads that read LXD's answers give way to the event loop after this long, not after ten times as long.
    sys.setswitchinterval(0.0005)
    logs.configure(settings.log_level)
    for warning in warnings:
        _log.warning(warning)
    container = (assemble or wire)(settings)
    # Before the socket: of a second server with the same settings it is the directory that must be told.
    lock = container.state().hold()
    try:
        with listen_on(settings.address) as sock:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                begin_again = runner.run(_serve(container, settings, sock))
            if begin_again:
                _replace_this_process(sock)
    finally:
        os.close(lock)
    return ExitCode.OK


def _replace_this_process(sock: socket.socket) -> NoReturn:
    """Begin anew as the program that is installed by now; who connects meanwhile waits at the socket."""
    hand_over(sock)
    sys.stderr.flush()
    # The lock on the state directory ends here, and the new program takes it again.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # itself, with its own arguments


def _raise_open_files() -> None:
    """Let this process have as many open files as it may: a thousand connections need more than the usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(container: Container, settings: Settings, sock: socket.socket) -> bool:
    """Open everything, serve, and close in the opposite order; whether to begin anew with the same socket."""
    from nexus_http.app import create_app
    from nexus_http.server import serve as serve_http

    stop, again = asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop, again)
    async with AsyncExitStack() as opened:
        store = container.store()
        opened.callback(store.close)
        provider = container.provider()
        opened.push_async_callback(_close, provider)
        nexus = container.nexus()
        state = container.state()
        nexus.admit_administrator(state.administrator_secret(container.ids()))
        opened.push_async_callback(nexus.close)
        resumed = await nexus.open()
        provider_status = nexus.show_server.health().heartbeat.status
        if not provider_status.available:
            _log.warning("the provider does not answer; what needs it waits", extra={"error": provider_status.error})
        if resumed:
            _log.info("took up unfinished operations", extra={"operations": resumed})
        release = version(DISTRIBUTION)
        app = create_app(
            nexus,
            public_host=settings.public_host,
            version=release,
            meters=container.meters(),
            metrics_open=settings.metrics_open,
        )
        sys.stderr.write(
            f"Nexus {release} listens on {url_of(sock)}; the administrator's token is in {state.admin_token}\n"
        )
        sys.stderr.flush()
        await serve_http(app, sock=sock.dup(), stop=stop)
        _log.info("restarting" if again.is_set() else "stopping")
        if not again.is_set():
            sock.close()
    return again.is_set()


def _stop_on_signals(stop: asyncio.Event, again: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT asks for an orderly end, SIGHUP for a new beginning; a second one ends at once.

    The SIGHUP of a terminal that is closed ends the server as it does other programs.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT) + (() if sys.stdin and sys.stdin.isatty() else (signal.SIGHUP,))

    def asked(number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            again.set()
        stop.set()
        for each in numbers:
            loop.remove_signal_handler(each)

    for number in numbers:
        loop.add_signal_handler(number, asked, number)


async def _close(provider: object) -> None:
    close: Any = getattr(provider, "close", None)
    if close is not None:
        outcome = close()
        if inspect.isawaitable(outcome):
            await outcome


def wire(settings: Settings) -> Container:
    """The parts of a server with these settings, none of them opened yet."""
    from dependency_injector import providers

    from nexus_wiring.container import Container

    return Container(settings=providers.Object(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


def cannot_serve(error: NexusError) -> CannotServe:
    """The core's error with the exit code of the branch it hangs on."""
    branches = {Invalid: ExitCode.USAGE, Conflict: ExitCode.CONFLICT, Unavailable: ExitCode.TRY_LATER}
    code = next((code for branch, code in branches.items() if isinstance(error, branch)), ExitCode.FAILED)
    said = {"code": error.code, "what": error.what, "why": error.why, "fix": error.fix, "details": error.details}
    return CannotServe(said, code)
