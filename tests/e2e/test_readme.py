"""The commands that the README shows do what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import measure
import pytest

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]

README = Path(__file__).resolve().parents[2] / "README.md"


def test_a_server_of_your_own(tmp_path: Path) -> None:
    shown = re.findall(r"^\.venv/bin/nexus ([^#\n]*)", README.read_text(), re.MULTILINE)
    serve, *commands = [shlex.split(line) for line in shown]
    assert serve == ["serve"]
    assert [words[0] for words in commands] == ["register", "create", "ssh"]
    key = measure.make_key(tmp_path, "id_ed25519")
    with measure.fresh_server(tmp_path / "state") as server:
        answer = ""
        for written in commands:
            words = [word.replace("~/.ssh/id_ed25519.pub", f"{key}.pub") for word in written]  # not the account's own
            if words[0] == "ssh":
                words += ["--identity", str(key), "--", "hostname"]
            done = subprocess.run(
                [measure.NEXUS, *words],
                env=server.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            answer = done.stdout
        assert answer == "my-project\n"
        with server.client() as client:
            [workspace] = client.get("/workspaces").json()["workspaces"]
            measure.delete(client, workspace["workspace_id"])
