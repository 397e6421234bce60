"""Websockets to LXD."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import certifi
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidMessage

from nexus_lxd.errors import unavailable
from nexus_lxd.unix_socket import SCHEME

_OPENING = 5.0
_LETTING_GO = 2.0

_quiet = logging.getLogger("nexus_lxd.channels")
_quiet.setLevel(logging.ERROR)  # a websocket that breaks off is told by what it was for


class Channels:
    """Opens websockets by the same socket, or with the same certificates, as requests."""

    def __init__(self, cert: tuple[str, str] | None, verify: str | bool) -> None:
        self._cert = cert
        self._verify = verify
        self._trust: ssl.SSLContext | None = None

    async def open(self, endpoint: str, address: str) -> ClientConnection:
        """A websocket at this address of LXD's.

        Raises `ProviderUnavailable` if LXD does not answer, and a `WebSocketException` if it refuses.
        """
        options: dict[str, Any] = {
            "open_timeout": _OPENING,
            # LXD does not listen on the sockets that it only writes to: it would neither return a ping nor a goodbye.
            "ping_interval": None,
            "close_timeout": 0,
            "compression": None,
            "max_size": None,
            "user_agent_header": None,
            "logger": _quiet,
        }
        try:
            if endpoint.startswith(SCHEME):
                return await unix_connect(unquote(endpoint.removeprefix(SCHEME)), f"ws://lxd{address}", **options)
            url = f"wss://{endpoint.removeprefix('https://')}{address}"
            return await connect(url, ssl=self._context(), proxy=None, **options)
        except TimeoutError as error:
            raise unavailable("It took the request and did not answer in time.") from error
        except (OSError, InvalidMessage) as error:
            raise unavailable("The connection was refused or broke off, or a certificate is wrong.") from error

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if isinstance(self._verify, str):
                # As for requests: this certificate and no other, by whatever name the server is called.
                self._trust.check_hostname = False
                self._trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                self._trust.load_verify_locations(self._verify)
            else:
                self._trust.load_verify_locations(os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())
            if self._cert is not None:
                self._trust.load_cert_chain(*self._cert)
        return self._trust


async def let_go(channel: ClientConnection) -> None:
    """Break the websocket off; nothing that is under way on it is waited for."""
    channel.transport.abort()
    with suppress(TimeoutError):
        async with asyncio.timeout(_LETTING_GO):
            await channel.wait_closed()
