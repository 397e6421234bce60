"""What every `Ids` promises, by ports/ids.py.

A test module of an adapter derives from `IdsContract` and gives it a fixture ``ids``.
"""

from __future__ import annotations

import re

import pytest

from nexus_core.ports.ids import Ids


class IdsContract:
    """Derive from it and provide ``ids``."""

    @pytest.mark.parametrize("prefix", ["user", "ws", "op", "req"])
    def test_an_id_is_its_prefix_and_twelve_characters(self, ids: Ids, prefix: str) -> None:
        assert re.fullmatch(rf"{prefix}-[a-z0-9]{{12}}", ids.new(prefix))

    def test_no_id_is_given_twice(self, ids: Ids) -> None:
        given = [ids.new(prefix) for _ in range(500) for prefix in ("ws", "op")]

        assert len(set(given)) == len(given)

    def test_a_secret_is_url_safe_and_long_enough(self, ids: Ids) -> None:
        # 43 characters of 6 bits each hold 256 bits.
        assert re.fullmatch(r"nxs_[A-Za-z0-9_-]{43,}", ids.secret())

    def test_no_secret_is_given_twice(self, ids: Ids) -> None:
        assert len({ids.secret() for _ in range(500)}) == 500
