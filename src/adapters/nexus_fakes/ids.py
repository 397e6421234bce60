"""Identifiers and secrets that tests can foresee."""

from __future__ import annotations

from collections import Counter

from nexus_core.ports.ids import Ids


class FakeIds(Ids):
    """`Ids` that count: ``ws-000000000001``, ``ws-000000000002``, ``op-000000000001``, …

    Secrets have the form and the length of real ones and none of their randomness.
    """

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        self._given[prefix] += 1
        return f"{prefix}-{self._given[prefix]:012d}"

    def secret(self) -> str:
        self._given["nxs_"] += 1
        return f"nxs_{self._given['nxs_']:043d}"
