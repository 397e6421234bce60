"""The SQLite store keeps every promise of the port, on a file and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.store_contract import StoreContract
from nexus_core.ports.store import Store
from nexus_sqlite import SqliteStore


class TestOnAFile(StoreContract):
    """A real file, in WAL mode."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore.open(tmp_path / "nexus.db", key=bytes(32))
        yield store
        store.close()


class TestInMemory(StoreContract):
    """As unit tests use it."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = SqliteStore.in_memory()
        yield store
        store.close()
