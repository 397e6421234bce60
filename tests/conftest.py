"""What every test shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Contract suites are imported by tests, not collected: their asserts are to explain themselves too.
pytest.register_assert_rewrite(
    *(
        f"contracts.{port}_contract"
        for port in (
            "bundles",
            "clock",
            "examiner",
            "ids",
            "interior",
            "meters",
            "probe",
            "provider",
            "public_keys",
            "publisher",
            "store",
            "workbench",
        )
    )
)

# How long an example takes says more about what else the machine does than about the code.
# In CI the same examples every time: a change is judged by what it changes. At home, ever new ones.
settings.register_profile("nexus", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("nexus")
