"""What every `Bundles` promises, by ports/bundles.py.

A test module of an adapter derives from `BundlesContract` and gives it a fixture ``stage``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from nexus_core.ports.bundles import Bundles


@dataclass(frozen=True)
class BundlesStage:
    """Bundles, empty at first, and what is at their paths."""

    bundles: Bundles
    content: Callable[[str], bytes]


async def chunks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """An upload in these parts, which may break off."""
    for part in parts:
        yield part
    if error is not None:
        raise error


class BundlesContract:
    """Derive from it and provide ``stage``."""

    async def test_what_comes_in_is_there(self, stage: BundlesStage) -> None:
        assert await stage.bundles.receive("ws-1", chunks(b"PA", b"", b"CK")) == 4
        path = stage.bundles.path_of("ws-1")
        assert path is not None
        assert stage.content(path) == b"PACK"

    def test_there_is_none_before(self, stage: BundlesStage) -> None:
        assert stage.bundles.path_of("ws-1") is None

    async def test_an_empty_one_is_one(self, stage: BundlesStage) -> None:
        assert await stage.bundles.receive("ws-1", chunks()) == 0
        assert stage.bundles.path_of("ws-1") is not None

    async def test_a_later_one_takes_its_place(self, stage: BundlesStage) -> None:
        await stage.bundles.receive("ws-1", chunks(b"a long first one"))
        await stage.bundles.receive("ws-1", chunks(b"short"))
        path = stage.bundles.path_of("ws-1")
        assert path is not None
        assert stage.content(path) == b"short"

    async def test_each_workspace_has_its_own(self, stage: BundlesStage) -> None:
        await stage.bundles.receive("ws-1", chunks(b"one"))
        await stage.bundles.receive("ws-2", chunks(b"two"))
        paths = [stage.bundles.path_of(name) for name in ("ws-1", "ws-2")]
        assert [stage.content(path) for path in paths if path] == [b"one", b"two"]
        stage.bundles.remove("ws-1")
        assert [stage.bundles.path_of(name) is None for name in ("ws-1", "ws-2")] == [True, False]

    @pytest.mark.parametrize("before", [False, True])
    async def test_one_that_breaks_off_changes_nothing(self, stage: BundlesStage, before: bool) -> None:
        if before:
            await stage.bundles.receive("ws-1", chunks(b"first"))
        with pytest.raises(ConnectionError, match="gone"):
            await stage.bundles.receive("ws-1", chunks(b"half", error=ConnectionError("gone")))
        path = stage.bundles.path_of("ws-1")
        assert (path is not None) is before
        assert path is None or stage.content(path) == b"first"

    async def test_removing_it_or_none_is_fine(self, stage: BundlesStage) -> None:
        stage.bundles.remove("ws-1")
        await stage.bundles.receive("ws-1", chunks(b"PACK"))
        stage.bundles.remove("ws-1")
        stage.bundles.remove("ws-1")
        assert stage.bundles.path_of("ws-1") is None
