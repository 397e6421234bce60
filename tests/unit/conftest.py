"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from worlds import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server that is open."""
    async with World() as world:
        yield world
