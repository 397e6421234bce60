"""Files on their way to and from LXD, a piece at a time."""

from __future__ import annotations

import io
import threading
import time

import requests

from nexus_core.errors import ProviderFailed

_PIECE = 1 << 16


class Source(io.FileIO):
    """A file of the host that is being sent, and that breaks off when nobody waits for it any more."""

    def __init__(self, path: str, cancelled: threading.Event) -> None:
        super().__init__(path, "rb")
        self._cancelled = cancelled

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece; `InterruptedError` once whoever sends it was cancelled."""
        if self._cancelled.is_set():
            raise InterruptedError("nobody waits for this file any more")
        return super().read(-1 if size is None else size) or b""


def opened(path: str, cancelled: threading.Event) -> Source:
    """The host's file, to be sent; raises `ProviderFailed`."""
    try:
        return Source(path, cancelled)
    except OSError as error:
        raise ProviderFailed("A file of the host cannot be sent", why=f"The host says: {error.strerror}.") from error


def content_of(response: requests.Response, limit: int, within: float) -> tuple[str, bytes]:
    """LXD's word for what the file is, and its content up to one byte more than ``limit``.

    Raises `TimeoutError` when it has not all come ``within`` seconds, also if it comes a little at a time.
    """
    ends = time.monotonic() + within
    content = bytearray()
    while len(content) <= limit and (piece := response.raw.read1(min(_PIECE, limit + 1 - len(content)))):
        content += piece
        if time.monotonic() > ends:
            raise TimeoutError
    return response.headers.get("X-LXD-type", "file"), bytes(content)
