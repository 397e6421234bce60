"""The doctor's parts put together, where there is no LXD: it says so, and changes nothing unasked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dependency_injector import providers

from nexus_core.domain.finding import Finding, Verdict
from nexus_sqlite import SqliteStore
from nexus_wiring.container import Container
from nexus_wiring.doctor import diagnose
from nexus_wiring.settings import Settings
from nexus_wiring.state import StateDirectory

NO_BRIDGE = "nxabsent0"


def container(state: Path) -> Container:
    settings = Settings(
        state_dir=str(state), listen="127.0.0.1:1", lxd_endpoint=str(state / "no-lxd"), lxd_bridge=NO_BRIDGE
    )
    return Container(settings=providers.Object(settings))


async def found(state: Path, *, mend: bool = False) -> dict[tuple[str, str], Finding]:
    """Every finding of LXD, the database and what the records are compared with."""
    diagnosis = await diagnose(container(state), mend=mend)
    return {(one.area, one.subject): one for one in diagnosis.findings if one.area != "host"}


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """What a server that has ended left."""
    state = StateDirectory(tmp_path / "state")
    os.close(state.hold())
    SqliteStore.open(state.database, key=state.database_key()).close()
    return state


async def test_a_machine_just_set_up(tmp_path: Path) -> None:
    seen = await found(tmp_path / "state", mend=True)
    assert seen["database", "file"].verdict is Verdict.OK
    assert seen["server", "process"].verdict is Verdict.WARNING
    assert seen["lxd", "daemon"].verdict is Verdict.FAILURE
    assert {area for area, _ in seen} == {"server", "lxd", "nftables", "database"}
    assert not (tmp_path / "state").exists()


async def test_without_lxd_the_rest_is_looked_at(state: StateDirectory) -> None:
    before = {file.name: file.read_bytes() for file in state.path.iterdir()}
    seen = await found(state.path)
    assert seen["database", "integrity"].verdict is Verdict.OK
    assert seen["database", "key"].verdict is Verdict.OK
    assert seen["workspaces", "containers"].verdict is Verdict.WARNING
    assert {name: (state.path / name).read_bytes() for name in before} == before


async def test_looking_closes_no_file(state: StateDirectory) -> None:
    state.key_file.chmod(0o644)
    assert (await found(state.path))["database", str(state.key_file)].mend is not None
    assert state.key_file.stat().st_mode & 0o777 == 0o644
    await found(state.path, mend=True)
    assert state.key_file.stat().st_mode & 0o777 == 0o600


async def test_a_database_of_no_use_is_compared_with_nothing(state: StateDirectory) -> None:
    state.database.write_bytes(b"nonsense" * 1000)
    seen = await found(state.path)
    assert seen["database", "content"].verdict is Verdict.FAILURE
    assert "workspaces" not in {area for area, _ in seen}


async def test_no_key_is_made(state: StateDirectory) -> None:
    state.key_file.unlink()
    assert (await found(state.path, mend=True))["database", "key"].verdict is Verdict.FAILURE
    assert not state.key_file.exists()


async def test_no_server_starts_while_it_mends(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    from nexus_nftables.examination import NftablesExaminer
    from nexus_wiring.state import StateDirectoryInUse

    refused: list[bool] = []

    async def examine(self: NftablesExaminer) -> list[Finding]:
        try:
            os.close(state.hold())
            refused.append(False)
        except StateDirectoryInUse:
            refused.append(True)
        return []

    monkeypatch.setattr(NftablesExaminer, "examine", examine)
    await found(state.path, mend=True)
    await found(state.path)
    assert refused == [True, False]
