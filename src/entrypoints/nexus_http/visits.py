"""One request from its arrival to its end: its id, who asked, and the line it leaves in the log."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from typing import Any, Final

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY: Final = "nexus_visit"


class Visit:
    """What is remembered of a request while it is here."""

    __slots__ = ("began", "caller", "error", "method", "request_id", "seconds", "status", "workspace_id")

    def __init__(self, method: str, request_id: str) -> None:
        self.method = method
        self.request_id = request_id
        self.began = time.perf_counter()
        self.status: int | None = None
        self.seconds: float | None = None
        self.caller: str | None = None
        self.workspace_id: str | None = None
        self.error: str | None = None

    def answered(self, status: int) -> None:
        """The answer begins: what its client takes to read it, or one that goes on for hours, is not our delay."""
        self.status = status
        self.seconds = time.perf_counter() - self.began

    @property
    def duration_ms(self) -> float:
        """How long it has been here."""
        return round((time.perf_counter() - self.began) * 1000, 2)


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id the client chose, if it sent one that is well-formed, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _WELL_FORMED.fullmatch(value):
            return value.decode()
    return new_request_id()


def new_request_id() -> str:
    """An id for a request that brought none."""
    return f"req-{secrets.token_hex(6)}"


def begin(scope: Any, method: str) -> Visit:
    """Remember a request that has arrived."""
    visit = Visit(method, request_id(scope["headers"]))
    scope.setdefault("state", {})[_KEY] = visit
    return visit


def visit_of(scope: Any) -> Visit:
    """What is remembered of this request."""
    visit: Visit = scope["state"][_KEY]
    return visit
