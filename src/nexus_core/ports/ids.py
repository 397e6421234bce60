"""Names for new things and secrets, so that tests can foresee them."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Ids(ABC):
    """Makes identifiers and secrets."""

    @abstractmethod
    def new(self, prefix: str) -> str:
        """``prefix``, a hyphen and 12 of ``[a-z0-9]`` that were not given out before."""

    @abstractmethod
    def secret(self) -> str:
        """A token's secret: ``nxs_`` and at least 256 bits from a cryptographic source, URL-safe."""
