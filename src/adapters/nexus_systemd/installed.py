"""What was put into an instance last, so that only what changed is put there again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from nexus_core.domain.service import ServiceSpec


@dataclass(frozen=True, slots=True)
class Installed:
    """A mark of everything that was installed, and one of each service; marks give nothing of it away."""

    mark: str = ""
    services: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, archive: bytes, services: Sequence[ServiceSpec]) -> Self:
        """The marks of these services and of the archive that they are packed in."""
        run = (one for one in services if one.command is not None)
        return cls(_mark_of(archive), {one.name: _mark_of(_description(one)) for one in run})

    @classmethod
    def parse(cls, text: bytes | None) -> Self:
        """What was written down inside; nothing if it cannot be read, and then all is put there again."""
        try:
            told = json.loads(text or b"{}")
            return cls(str(told["mark"]), {str(name): str(mark) for name, mark in told["services"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def text(self) -> bytes:
        """How it is written down."""
        return json.dumps({"mark": self.mark, "services": self.services}).encode()


def _description(service: ServiceSpec) -> bytes:
    # How it is exposed changes nothing inside.
    described = (service.command, service.port, service.depends_on, sorted(service.env.items()), service.health_check)
    return repr(described).encode(errors="surrogatepass")


def _mark_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
