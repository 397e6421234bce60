"""``nexus ssh`` and ``nexus ssh-config``: what OpenSSH is told, and what is written to disk."""

from __future__ import annotations

import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_cli.known_hosts import Door
from nexus_cli.ssh import command_line
from stub_api import HOST_KEY, WS, Shell, page, shell, summary, workspace

DOOR = Door(WS, "staging.example.com", 2222, "dev", HOST_KEY)
SECOND = "ws-000000000002"


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been executed."""
    seen: list[list[str]] = []

    def execute(program: str, arguments: list[str]) -> None:
        seen.append([program, *arguments])

    monkeypatch.setattr("os.execvp", execute)
    return seen


def ssh_field(**changes: Any) -> dict[str, Any]:
    return {**workspace()["ssh"], **changes}


class TestSsh:
    def test_a_shell(self, sh: Shell, run: list[list[str]]) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        assert sh("ssh", "web").code == 0
        assert run[0][:4] == ["ssh", "ssh", "-p", "2222"]
        assert run[0][-2:] == ["--", "dev@staging.example.com"]
        assert f"HostKeyAlias={WS}" in run[0]
        assert "StrictHostKeyChecking=yes" in run[0]

    def test_the_key_is_on_disk_for_ssh_alone(self, sh: Shell, run: list[list[str]]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        sh("ssh", WS)
        file = sh.state / "ssh" / WS
        assert f'UserKnownHostsFile="{file}"' in run[0]
        assert file.read_text() == f"{WS} {HOST_KEY}\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [one.name for one in file.parent.iterdir()] == [WS]

    @pytest.mark.parametrize(
        "command",
        [
            ["ls", "-la", "--help"],
            ["sh", "-c", 'echo "a  b" $HOME'],
            ["echo", "", "*", "--json", "--", "-x", "ä\n"],
        ],
    )
    def test_several_words_arrive_as_they_are(self, sh: Shell, run: list[list[str]], command: list[str]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        assert sh("ssh", WS, "--", *command).code == 0
        assert run[0][-2] == "dev@staging.example.com"
        assert shlex.split(run[0][-1]) == command
        assert "RemoteCommand=none" in run[0]

    def test_one_word_is_a_line_for_the_shell(self, sh: Shell, run: list[list[str]]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        sh("ssh", WS, "-t", "-i", "/keys/id", "--", "cd src && make")
        assert run[0][-6:] == ["-o", "IdentitiesOnly=yes", "-t", "--", "dev@staging.example.com", "cd src && make"]
        assert run[0][run[0].index("-i") + 1] == "/keys/id"

    def test_not_running(self, sh: Shell, run: list[list[str]]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace(status="stopped"), workspace(status="creating", ssh=None))
        outcome = sh("ssh", WS)
        assert outcome.code == 1
        assert "nexus start web" in outcome.err
        assert "Wait" in sh("ssh", WS).err
        assert run == []

    @pytest.mark.parametrize(
        "ssh",
        [
            None,
            ssh_field(host="-oProxyCommand=touch /tmp/x"),
            ssh_field(host="a b"),
            ssh_field(host=7),
            ssh_field(port="2222"),
            ssh_field(port=0),
            ssh_field(user="-l"),
            ssh_field(user=None),
            ssh_field(host_key="ssh-ed25519 AAAA\n* ssh-ed25519 AAAA"),
            ssh_field(host_key=None),
        ],
    )
    def test_what_the_server_says_is_checked(self, sh: Shell, run: list[list[str]], ssh: object) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace(ssh=ssh))
        assert sh("ssh", WS).code == 1
        assert run == []
        assert not (sh.state / "ssh").exists()

    def test_a_state_directory_that_cannot_be_written(self, sh: Shell, run: list[list[str]]) -> None:
        sh.state.write_text("a file")
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        outcome = sh("ssh", WS)
        assert outcome.code == 2
        assert "--state-dir" in outcome.err
        assert run == []

    def test_a_state_directory_that_ssh_cannot_name(self, sh: Shell, tmp_path: Path, run: list[list[str]]) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        assert sh("ssh", WS, "--state-dir", str(tmp_path / "100%")).code == 2
        assert run == []

    def test_no_ssh_here(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(sh.state))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        outcome = sh("ssh", WS)
        assert outcome.code == 1
        assert "openssh-client" in outcome.err


@pytest.mark.skipif(shutil.which("ssh") is None, reason="asks the real ssh how it understands its arguments")
class TestRealSsh:
    def test_a_hostile_configuration_does_not_win(self, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text(
            "Host *\n  Port 9\n  User eve\n  HostName evil.example\n  ControlPath /tmp/%r\n  ControlMaster auto\n"
            "  RemoteCommand tmux\n  StrictHostKeyChecking no\n  VerifyHostKeyDNS yes\n  ProxyJump bastion\n"
        )
        directory = tmp_path / "with a space"
        arguments = command_line(DOOR, directory, command=["true"])
        understood = self._resolved(["ssh", "-G", "-F", str(config), *arguments[1:]])
        expected = {
            "hostname": "staging.example.com",
            "port": "2222",
            "user": "dev",
            "hostkeyalias": WS,
            "stricthostkeychecking": "true",
            "verifyhostkeydns": "false",
            "updatehostkeys": "false",
            "userknownhostsfile": str(directory / "ssh" / WS),
            "proxyjump": "bastion",  # the user's own way there
        }
        assert {key: understood.get(key) for key in expected} == expected
        assert understood.get("controlpath", "none") == "none"
        assert understood.get("remotecommand", "none") == "none"

    def test_the_printed_entries_mean_the_same(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        config = sh.state.parent / "config"
        config.write_text(sh("ssh-config", "-i", "/keys/id").out)
        understood = self._resolved(["ssh", "-G", "-F", str(config), "web.nexus"])
        assert understood["hostname"] == "staging.example.com"
        assert understood["port"] == "2222"
        assert understood["identityfile"] == "/keys/id"
        assert understood["userknownhostsfile"] == str(sh.state / "ssh" / WS)

    @staticmethod
    def _resolved(command: list[str]) -> dict[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        pairs = [line.partition(" ") for line in done.stdout.splitlines()]
        return {key: value for key, _, value in pairs}


class TestSshConfig:
    def test_entries(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        lines = sh("ssh-config", "--owner", "alice").out.splitlines()
        assert lines[2:6] == [
            "Host web.nexus",
            "    HostName staging.example.com",
            "    Port 2222",
            "    User dev",
        ]
        assert f'    UserKnownHostsFile "{sh.state / "ssh" / WS}"' in lines
        assert (sh.state / "ssh" / WS).read_text() == f"{WS} {HOST_KEY}\n"
        assert sh.api.asked[0].query["owner"] == "alice"

    def test_names_that_clash_have_their_owners(self, sh: Shell) -> None:
        other = summary("web", SECOND, owner="bob")
        sh.api.on("GET", "/workspaces", page(summary(), other))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        sh.api.on("GET", f"/workspaces/{SECOND}", workspace(workspace_id=SECOND, owner="bob"))
        hosts = [line for line in sh("ssh-config").out.splitlines() if line.startswith("Host ")]
        assert hosts == ["Host alice.web.nexus", "Host bob.web.nexus"]

    def test_what_has_no_door_has_no_entry(self, sh: Shell) -> None:
        young = workspace(status="creating", ssh=None)
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"/workspaces/{WS}", young)
        outcome = sh("ssh-config")
        assert "Host " not in outcome.out
        assert "No workspace" in outcome.err
        assert sh("ssh-config", "--json").json == {"workspaces": [young]}

    @pytest.mark.parametrize("field", ["name", "owner"])
    def test_a_name_that_is_a_pattern(self, sh: Shell, field: str) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        sh.api.on("GET", f"/workspaces/{WS}", workspace(**{field: "* !x"}))
        outcome = sh("ssh-config")
        assert outcome.code == 1
        assert "Host " not in outcome.out
