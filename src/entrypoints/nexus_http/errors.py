"""What goes wrong in HTTP itself, before the core is asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from nexus_core.errors import NexusError


class MethodNotAllowed(NexusError):
    """The address exists, the method does not exist there; ``allow`` has those that do."""

    code: ClassVar[str] = "method_not_allowed"
    remedy: ClassVar[str] = "Use one of the methods in the `Allow` header."

    def __init__(self, method: str, allow: Collection[str]) -> None:
        super().__init__(f"{method[:20]} is not possible here")
        self.allow = sorted(allow)


class PayloadTooLarge(NexusError):
    """The body is longer than the server takes."""

    code: ClassVar[str] = "payload_too_large"
    remedy: ClassVar[str] = "Send a shorter body."


class UnsupportedMediaType(NexusError):
    """The body is not said to be JSON."""

    code: ClassVar[str] = "unsupported_media_type"
    remedy: ClassVar[str] = "Send JSON in UTF-8 with `Content-Type: application/json`."
