"""The one shape of every error."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Problem(Struct, frozen=True):
    """What went wrong, what to do next, and the request it happened to."""

    error: str
    message: str
    details: dict[str, Any]
    request_id: str
