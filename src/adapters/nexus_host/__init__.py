"""What the host itself provides: time, randomness and a folder."""

from __future__ import annotations

from nexus_host.bundles import FolderBundles
from nexus_host.clock import SystemClock
from nexus_host.ids import RandomIds

__all__ = ["FolderBundles", "RandomIds", "SystemClock"]
