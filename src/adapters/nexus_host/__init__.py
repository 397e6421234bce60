"""What the host itself provides: time and randomness."""

from __future__ import annotations

from nexus_host.clock import SystemClock
from nexus_host.ids import RandomIds

__all__ = ["RandomIds", "SystemClock"]
