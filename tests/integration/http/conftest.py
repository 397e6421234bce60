"""Fixtures of the HTTP API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

import served
from served import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A server that is open."""
    async with served.site() as one:
        yield one


@pytest.fixture
async def admin(site: Site) -> httpx.AsyncClient:
    """The administrator."""
    return await site.admin()


@pytest.fixture
async def alice(site: Site) -> httpx.AsyncClient:
    """A user."""
    return await site.user("alice")


@pytest.fixture
async def bob(site: Site) -> httpx.AsyncClient:
    """Another user."""
    return await site.user("bob")
