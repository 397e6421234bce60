"""Serving the application over TCP until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Final

import uvicorn
from litestar import Litestar

from nexus_http.connections import Connection

GRACE: Final = 30
"""Seconds that requests under way have to end once the server is told to stop."""
IDLE: Final = 75
"""Seconds that a connection without a request is kept: longer than clients keep theirs, so that it is
the client that closes and no request meets a connection that is just being closed."""


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals alone: it would raise them once more after its end, past our clean-up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(app: Litestar, *, sock: socket.socket, stop: asyncio.Event, grace: int = GRACE) -> None:
    """Answer requests at the bound socket until ``stop`` is set, then return with all of them ended.

    Once told to stop, no connection is accepted and those without a request are closed; requests
    under way have ``grace`` seconds before they are answered that the server is stopping. The
    socket is closed. Signals and logging are the caller's business.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=grace,
    )
    server = _Server(config)
    app.state.stopping.clear()  # an application may be served again
    watch = asyncio.create_task(_pass_on(stop, server, app), name="http-stop")
    try:
        await server.serve(sockets=[sock])
        # Those that were not over in time have been cancelled; let them say so to their clients.
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=1)
    finally:
        watch.cancel()


async def _pass_on(stop: asyncio.Event, server: uvicorn.Server, app: Litestar) -> None:
    await stop.wait()
    app.state.stopping.set()
    server.should_exit = True
