"""What every test shares."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Contract suites are imported by tests, not collected: their asserts are to explain themselves too.
pytest.register_assert_rewrite(
    *(
        f"contracts.{port}_contract"
        for port in ("clock", "ids", "probe", "provider", "public_keys", "publisher", "store")
    )
)

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("nexus", deadline=None)
settings.load_profile("nexus")
