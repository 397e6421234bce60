"""A Nexus on the fakes behind its HTTP application, and clients of it that need no network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from litestar import Litestar

from nexus_core.policy import Policy
from nexus_core.ports.store import Store
from nexus_http.app import create_app
from nexus_http.server import serve
from nexus_prometheus import PrometheusMeters
from worlds import World

ADMIN_TOKEN = "nxs_" + "a" * 43
HOST = "staging.example.com"
API = "http://nexus.example/api/v1"


def bearer(token: str) -> dict[str, str]:
    """The header that says who is asking."""
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Site:
    """A server's parts, its application, and a client for whoever asks."""

    world: World
    app: Litestar
    _clients: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def client(self, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        """A client that sends these headers with everything."""
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]  # Litestar narrows the scope's type
        client = httpx.AsyncClient(transport=transport, base_url=API, headers=headers, timeout=30)
        return await self._clients.enter_async_context(client)

    async def admin(self) -> httpx.AsyncClient:
        """The administrator."""
        return await self.client(bearer(ADMIN_TOKEN))

    async def user(self, name: str, *scopes: str) -> httpx.AsyncClient:
        """A registered user with a token of these scopes, or both."""
        caller = self.world.register(name)
        _, secret = self.world.nexus.issue_token(caller, name, label="test", scopes=scopes or ("read", "write"))
        return await self.client(bearer(secret))

    async def close(self) -> None:
        """Let go of the clients."""
        await self._clients.aclose()


@asynccontextmanager
async def site(
    policy: Policy | None = None, store: Store | None = None, *, metrics_open: bool = False
) -> AsyncGenerator[Site]:
    """A server that is open and has an administrator."""
    given: dict[str, Any] = {name: one for name, one in {"policy": policy, "store": store}.items() if one is not None}
    meters = given["meters"] = PrometheusMeters()
    async with World(**given) as world:
        world.nexus.admit_administrator(ADMIN_TOKEN)
        built = Site(world, _app(world, meters, metrics_open=metrics_open))
        try:
            yield built
        finally:
            await built.close()


def _app(world: World, meters: PrometheusMeters, *, metrics_open: bool) -> Litestar:
    return create_app(world.nexus, public_host=HOST, version="1.2.3", meters=meters, metrics_open=metrics_open)


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; raises `TimeoutError` after five seconds."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@dataclass
class Listening:
    """The application behind a real socket."""

    host: str
    port: int
    stop: asyncio.Event
    ended: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that nothing has been said on."""
        return await asyncio.open_connection(self.host, self.port)


@asynccontextmanager
async def listening(app: Litestar, *, grace: int = 5) -> AsyncGenerator[Listening]:
    """The application served on a free port of loopback; in the end it is told to stop, and has."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    stop = asyncio.Event()
    host, port = sock.getsockname()
    ended = asyncio.create_task(serve(app, sock=sock, stop=stop, grace=grace))
    try:
        yield Listening(host, port, stop, ended)
    finally:
        stop.set()
        await asyncio.wait_for(ended, 60)
