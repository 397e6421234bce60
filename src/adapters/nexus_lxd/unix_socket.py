"""HTTP over LXD's unix socket, for requests.

pylxd brings its own, which leaves a socket open each time that LXD is away and offers no way to end
requests that LXD does not answer.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.exceptions

SCHEME = "http+unix://"


class _UnixConnection(urllib3.connection.HTTPConnection):
    def __init__(self, path: str, sockets: WeakSet[socket.socket], **options: Any) -> None:
        super().__init__("localhost", **options)
        self._path = path
        self._sockets = sockets

    def connect(self) -> None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self.timeout)
            connected.connect(self._path)
        except OSError as error:
            connected.close()
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        self._sockets.add(connected)
        self.sock = connected


class _UnixConnectionPool(urllib3.HTTPConnectionPool):
    def __init__(self, path: str, sockets: WeakSet[socket.socket]) -> None:
        super().__init__("localhost")
        self._path = path
        self._sockets = sockets

    def _new_conn(self) -> Any:  # urllib3's own connection does not fit the protocol it declares here
        return _UnixConnection(self._path, self._sockets, timeout=self.timeout.connect_timeout)


class UnixAdapter(requests.adapters.HTTPAdapter):
    """Takes URLs such as ``http+unix://%2Fvar%2Flib%2Flxd%2Funix.socket/1.0`` to that socket."""

    def __init__(self) -> None:
        super().__init__()
        self._pool: _UnixConnectionPool | None = None
        self._open = WeakSet[socket.socket]()

    def abort(self) -> None:
        """Break off the requests under way: each fails at once. To be called from another thread."""
        for each in list(self._open):
            with suppress(OSError):  # it was closed meanwhile
                each.shutdown(socket.SHUT_RDWR)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> _UnixConnectionPool:
        del verify, proxies, cert  # nothing of that applies to a socket in the file system
        if self._pool is None:
            self._pool = _UnixConnectionPool(unquote(urlsplit(str(request.url)).netloc), self._open)
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        del proxies
        return request.path_url

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        super().close()
