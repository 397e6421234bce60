"""A short trial of faults, as `make chaos` runs longer ones; and whether its verdict sees what is wrong."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from chaos import outside
from chaos.course import Plan, run
from chaos.ledger import Asked, Move
from chaos.verdict import judge, look_once, settle
from chaos.world import World, world

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]

SEED = 20


def test_nothing_is_lost_doubled_or_orphaned_whatever_dies(capsys: pytest.CaptureFixture[str]) -> None:
    is_clean = run(Plan(SEED, seconds=20, points=5))
    assert is_clean, capsys.readouterr().out


@pytest.fixture
def stage() -> Generator[World]:
    folder = Path(tempfile.mkdtemp(prefix="nexus-verdict-"))
    folder.chmod(0o711)
    with world(folder, SEED) as stage:
        yield stage
    shutil.rmtree(folder)


def test_the_verdict_sees_what_is_wrong(stage: World) -> None:
    person = stage.ledger.people["alice"]
    for name in ("kept", "lost"):
        asked = Asked(name, "alice", (), time.time())
        stage.ledger.add(asked)
        with stage.client(person.token) as client:
            asked.id = client.post("/workspaces", json={"workspace_name": name}).json()["workspace_id"]
    assert settle(stage) == []
    assert judge(stage) == []
    kept, lost = stage.ledger.asked
    container = next(one["container_id"] for one in outside.look(stage).workspaces if one["id"] == kept.id)
    table = f"nexus_{stage.server_id}".replace("-", "_")
    stage.server.kill()  # it would mend some of this

    person.keys.append(stage.new_key("alice"))
    assert f"the key of {person.name} is none that it should be" in look_once(stage)
    person.keys.pop()
    kept.moves.append(Move("stop", time.time() - 1, time.time(), 200))
    assert "kept was stopped and runs" in look_once(stage)
    kept.moves.clear()
    subprocess.run(["nft", "add", "element", "ip", table, "ports", "{ 19150 : 10.1.2.3 . 22 }"], check=True)
    assert look_once(stage) == ["port 19150 is published for nothing"]
    subprocess.run(["nft", "delete", "element", "ip", table, "ports", "{ 19150 }"], check=True)
    stage.lxd.lxc("stop", "--force", container, "--project", "nexus")
    assert look_once(stage) == ["the container of kept (running) is Stopped"]
    stage.lxd.lxc("start", container, "--project", "nexus")
    with closing(sqlite3.connect(stage.server.state / "nexus.db", isolation_level=None)) as database:
        database.execute("DELETE FROM workspaces WHERE id = ?", [lost.id])
        database.execute("UPDATE workspaces SET status = 'error', error_code = 'x', error_message = 'y'")
    wrong = "\n".join(look_once(stage))
    for part in (
        f"lost ({lost.id}) was acknowledged and is lost",
        "belongs to no workspace",
        "a lease stands behind nothing",
        "is published for nothing",
        "kept is in error at no step without an injected cause: x: y",
    ):
        assert part in wrong
