"""The command and the server as two processes, as people use them; only LXD and the kernel's ports are fakes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from nexus_fakes import FakeKeys
from scraped import scrape

SERVE = Path(__file__).parent.parent / "serve_with_fakes.py"
PATIENCE = 60.0


@dataclass
class Server:
    """A server process and what it has written so far."""

    process: subprocess.Popen[str]
    url: str
    state: Path
    log: Path

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def written(self) -> str:
        return self.log.read_text()


@dataclass
class Desk:
    """Where servers are started and commands are run."""

    home: Path
    servers: list[Server]

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("NEXUS_")}
        return {**kept, "HOME": str(self.home), "COLUMNS": "200"}

    def serve(self, *words: str, state: str = "state", listen: str = "127.0.0.1:0", **environ: str) -> Server:
        """A server that answers."""
        directory, log = self.home / state, self.home / f"log-{len(self.servers)}"
        arguments = [sys.executable, str(SERVE), "--listen", listen, "--state-dir", str(directory), *words]
        with log.open("w") as file:
            process = subprocess.Popen(arguments, stderr=file, text=True, env={**self.environ, **environ})
        server = Server(process, "", directory, log)
        self.servers.append(server)
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(r"listens on (\S+);", server.written)) is None:
            assert process.poll() is None, server.written
            assert time.monotonic() < deadline, server.written
            time.sleep(0.02)
        server.url = found[1]
        return server

    def refused(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A server that does not come up."""
        arguments = [sys.executable, str(SERVE), *words]
        return subprocess.run(
            arguments, capture_output=True, text=True, timeout=PATIENCE, check=False, env={**self.environ, **environ}
        )

    def nexus(self, server: Server, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """One command, as the administrator unless a token is given."""
        known = {"NEXUS_URL": server.url, "NEXUS_STATE_DIR": str(server.state)}
        return subprocess.run(
            [sys.executable, "-m", "nexus_cli.main", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**self.environ, **known, **environ},
        )

    def watching(self, server: Server, *words: str) -> subprocess.Popen[str]:
        """A command that is not waited for."""
        known = {"NEXUS_URL": server.url, "NEXUS_STATE_DIR": str(server.state)}
        return subprocess.Popen(
            [sys.executable, "-m", "nexus_cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **known},
        )

    def until(self, server: Server, condition: Callable[[], bool]) -> None:
        """Wait for it."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, server.written

    def post(self, server: Server, path: str, body: Any) -> Any:
        """What no command asks for, as the administrator."""
        token = (server.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        address = f"{server.url}/api/v1{path}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310  # our own server
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310  # our own server
            return json.load(answer)

    def json(self, server: Server, *words: str, **environ: str) -> Any:
        """What a command that succeeds answers as JSON."""
        done = self.nexus(server, *words, "--json", **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, [])
    yield desk
    for server in desk.servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "id.pub"
    file.write_text(FakeKeys.sample("alice").text)
    return str(file)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_day_at_work(desk: Desk, key: str) -> None:
    server = desk.serve()
    registered = desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    assert registered.stdout.startswith("alice is registered with key SHA256:")
    assert desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key).returncode == 6

    token = desk.nexus(server, "token", "new", "laptop", "--user", "alice").stdout.strip()
    alice = {"NEXUS_TOKEN": token, "NEXUS_USER": "alice"}
    created = desk.nexus(server, "create", "web", **alice)
    assert created.returncode == 0
    assert created.stdout == "ssh -p 2222 dev@127.0.0.1\n"
    assert re.search(r"^wait_for_ssh done \d+ ms$", created.stderr, re.MULTILINE)

    assert [one["name"] for one in desk.json(server, "ls", **alice)["workspaces"]] == ["web"]
    workspace = desk.json(server, "show", "web", **alice)
    assert workspace["status"] == "running"
    assert desk.nexus(server, "ls").stdout.splitlines()[1].split()[:3] == ["web", "alice", "running"]
    assert workspace["container_id"] in desk.nexus(server, "show", "web").stdout

    config = desk.nexus(server, "ssh-config", **alice).stdout
    assert f"HostKeyAlias {workspace['workspace_id']}" in config
    known = server.state / "ssh" / workspace["workspace_id"]
    assert known.read_text() == f"{workspace['workspace_id']} {workspace['ssh']['host_key']}\n"

    assert desk.nexus(server, "rm", "web", **alice).returncode == 6
    assert desk.nexus(server, "stop", "web", **alice).stdout == "web is stopped.\n"
    assert desk.nexus(server, "stop", "web", **alice).returncode == 6
    assert desk.nexus(server, "ssh", "web", **alice).returncode == 1
    assert desk.nexus(server, "start", "web", **alice).stdout == created.stdout
    assert desk.nexus(server, "rm", "web", "--force", **alice).stdout == "web is deleted.\n"
    assert not known.exists()
    assert desk.nexus(server, "show", "web", **alice).returncode == 5

    (record,) = desk.json(server, "token", "ls", **alice)["tokens"]
    assert desk.nexus(server, "token", "rm", record["token_id"], "--user", "alice").returncode == 0
    assert desk.nexus(server, "ls", **alice).returncode == 4
    assert desk.json(server, "status")["workspaces"] == {}
    assert server.stop() == 0


def test_names_of_two_users(desk: Desk, tmp_path: Path) -> None:
    server = desk.serve()
    for number, name in enumerate(("alice", "bob"), start=1):
        file = tmp_path / f"{name}.pub"
        file.write_text(FakeKeys.sample(name).text)
        assert desk.nexus(server, "register", name, "--github-id", str(number), "--key", str(file)).returncode == 0
        assert desk.nexus(server, "create", "web", "--user", name).returncode == 0
    ambiguous = desk.nexus(server, "show", "web")
    assert ambiguous.returncode == 2
    assert len(re.findall(r"ws-[a-z0-9]{12}", ambiguous.stderr)) == 2
    assert desk.json(server, "show", "web", "--owner", "bob")["owner"] == "bob"
    assert desk.nexus(server, "create", "api").returncode == 1
    hosts = re.findall(r"^Host (\S+)$", desk.nexus(server, "ssh-config").stdout, re.MULTILINE)
    assert sorted(hosts) == ["alice.web.nexus", "bob.web.nexus"]


def test_a_workspace_that_fails(desk: Desk, key: str) -> None:
    server = desk.serve("broken")
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    failed = desk.nexus(server, "create", "web", "--user", "alice")
    assert failed.returncode == 1
    assert failed.stdout == ""
    for part in ("create_instance failed", "web failed in create_instance", "The disk is full.", "nexus start web"):
        assert part in failed.stderr
    again = desk.nexus(server, "start", "web", "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["error"]["code"] == "provider_failed"
    assert json.loads(again.stderr)["error"] == "provider_failed"
    assert desk.nexus(server, "rm", "web").returncode == 0


def test_services(desk: Desk, key: str) -> None:
    server = desk.serve()
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    db = {"name": "db", "command": "postgres", "port": 5432, "expose": False}
    web = {"name": "web", "command": "npm run dev", "port": 3000, "depends_on": ["db"]}
    asked = {"workspace_name": "web", "github_username": "alice", "setup": ["npm ci"], "services": [web, db]}
    desk.post(server, "/workspaces", asked)
    desk.until(server, lambda: desk.json(server, "show", "web")["status"] == "running")

    table = desk.nexus(server, "services", "web").stdout.splitlines()
    assert [line.split()[:2] for line in table] == [["SERVICE", "STATUS"], ["db", "running"], ["web", "running"]]
    first, second = desk.json(server, "services", "web")["services"]
    assert (first["url"], second["depends_on"]) == (None, ["db"])
    assert second["url"] in table[2]

    forwarded = desk.nexus(server, "forward", "web", "db")
    assert re.fullmatch(r"http://\S+:23\d\d\d\n", forwarded.stdout), forwarded.stderr
    assert desk.nexus(server, "forward", "web", "db").stdout == forwarded.stdout
    assert [line.split()[0] for line in desk.nexus(server, "forward", "web").stdout.splitlines()[1:]] == ["db", "web"]
    taken = desk.nexus(server, "forward", "web", "db", "--port", second["url"].rpartition(":")[2])
    assert taken.returncode == 6
    assert "port_in_use" in taken.stderr
    assert desk.nexus(server, "forward", "web", "db", "--remove").stdout == "db is forwarded no more.\n"
    assert desk.nexus(server, "forward", "web", "db", "--remove").returncode == 5

    restarted = desk.nexus(server, "restart", "web", "web")
    assert (restarted.returncode, restarted.stdout) == (0, f"web is running: {second['url']}.\n"), restarted.stderr
    assert desk.nexus(server, "restart", "web", "nothing").returncode == 5

    assert "npm ci" in desk.nexus(server, "logs", "web").stdout
    written = desk.nexus(server, "logs", "web", "db").stdout
    assert re.fullmatch(r".*\bdb\b.*\n", written)
    assert desk.nexus(server, "logs", "web", "nothing").returncode == 5
    with desk.watching(server, "logs", "web", "db", "--follow") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == written
        assert following.poll() is None
        assert server.stop() == 0  # following its logs keeps no server from stopping
        assert following.wait(PATIENCE) == 0


def test_a_repository_of_this_machine(desk: Desk, key: str, tmp_path: Path) -> None:
    server = desk.serve()
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    project = tmp_path / "project"
    project.mkdir()
    (project / "index.html").write_text("hello")
    written = desk.nexus(server, "init", str(project))
    assert written.stdout == f"{project}/.nexus/config.yaml is written.\n"
    for words in (["init", "--quiet", "--initial-branch", "main"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        identity = ["-c", "user.name=alice", "-c", "user.email=alice@example.com"]
        subprocess.run(["git", "-C", str(project), *identity, *words], check=True, env=desk.environ)
    assert desk.nexus(server, "create", "away", "--user", "alice", "--repo", str(project / "no")).returncode == 2
    assert desk.json(server, "ls")["total"] == 0

    # The bundle gets there; the workbench of this server is a fake, which finds no repository in it.
    created = desk.nexus(server, "create", "web", "--user", "alice", "--repo", str(project))
    assert created.returncode == 1
    for part in ("web failed in clone_repository", "git says:", "`nexus logs web`", "(clone_failed)"):
        assert part in created.stderr
    (bundle,) = (
        path for path in server.state.rglob("*") if path.is_file() and path.read_bytes()[:12] == b"# v2 git bun"
    )
    assert mode(bundle) == 0o600
    assert desk.json(server, "show", "web")["repository"]["branch"] == "main"
    again = desk.nexus(server, "send", "web", str(project))
    assert (again.returncode, "clone_failed" in again.stderr) == (1, True)
    assert desk.nexus(server, "rm", "web").returncode == 0
    assert not bundle.exists()


def test_what_the_engine_does_shows_in_the_metrics_that_the_settings_open(desk: Desk, key: str) -> None:
    server = desk.serve("broken", NEXUS_METRICS_OPEN="true")
    desk.json(server, "register", "alice", "--github-id", "1", "--key", key)
    desk.nexus(server, "create", "web", "--user", "alice")
    found = scrape(httpx.get(f"{server.url}/api/v1/metrics").text)
    assert found.value("nexus_creation_duration_seconds_count", status="failed") == 1
    assert found.value("nexus_errors_total", source="provider") == 1
    assert found.value("nexus_workspaces", status="error") == 1


def test_it_starts_while_lxd_is_away(desk: Desk, key: str) -> None:
    server = desk.serve("away")
    assert desk.json(server, "health")["status"] == "degraded"
    assert "the provider does not answer" in server.written
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    waiting = desk.nexus(server, "create", "web", "--user", "alice", "--no-wait")
    assert waiting.returncode == 0
    assert desk.json(server, "ls")["total"] == 1
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end(desk: Desk, key: str, number: signal.Signals) -> None:
    server = desk.serve("slow")
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    desk.nexus(server, "create", "web", "--user", "alice", "--no-wait")
    assert server.stop(number) == 0
    assert "Traceback" not in server.written
    assert not (server.state / "nexus.db-wal").exists()

    # What was under way goes on with the next server, on the same address and directory.
    listen = server.url.removeprefix("http://")
    resumed = desk.serve(listen=listen)
    assert resumed.url == server.url
    desk.until(resumed, lambda: desk.json(resumed, "show", "web")["status"] == "running")
    assert resumed.stop() == 0


def test_requests_under_way_are_answered_before_the_end(desk: Desk, key: str) -> None:
    server = desk.serve("slow")
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    assert desk.nexus(server, "create", "web", "--user", "alice").returncode == 0
    with desk.watching(server, "stop", "web") as stopping:
        desk.until(server, lambda: desk.json(server, "show", "web")["status"] == "stopping")
        assert server.stop() == 0
        out, err = stopping.communicate(timeout=PATIENCE)
    assert (stopping.returncode, out) == (0, "web is stopped.\n"), err


def test_a_create_that_is_watched_outlives_a_restart(desk: Desk, key: str) -> None:
    server = desk.serve("slow")
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    with desk.watching(server, "create", "web", "--user", "alice") as watching:
        desk.until(server, lambda: desk.json(server, "ls")["total"] == 1)
        assert server.stop() == 0
        desk.serve(listen=server.url.removeprefix("http://"))
        out, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, out) == (0, "ssh -p 2222 dev@127.0.0.1\n"), err


def test_a_restart_in_place_refuses_nobody(desk: Desk, key: str) -> None:
    server = desk.serve("slow")
    desk.nexus(server, "register", "alice", "--github-id", "1", "--key", key)
    headers = {"Authorization": f"Bearer {(server.state / 'admin-token').read_text().strip()}"}
    answers: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():  # each over a connection of its own
            answer = httpx.get(f"{server.url}/api/v1/status", headers=headers, timeout=PATIENCE)
            answers.append(answer.status_code)

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        with desk.watching(server, "create", "web", "--user", "alice") as watching:
            for round_ in (2, 3):
                server.process.send_signal(signal.SIGHUP)
                desk.until(server, lambda: server.written.count("listens on") == round_)  # noqa: B023  # asked at once
            out, err = watching.communicate(timeout=PATIENCE)
        over.set()
        for one in asking:
            one.result(PATIENCE)
    assert set(answers) == {200}
    assert (watching.returncode, out) == (0, "ssh -p 2222 dev@127.0.0.1\n"), err
    assert server.process.poll() is None  # it is the same process all the time
    assert server.stop() == 0


def test_files_are_for_the_server_alone(desk: Desk) -> None:
    server = desk.serve()
    assert mode(server.state) == 0o700
    files = list(server.state.iterdir())
    assert {"admin-token", "lock", "nexus.db"} <= {file.name for file in files}
    assert {mode(file) for file in files} == {0o600}
    token = (server.state / "admin-token").read_text().strip()
    assert token not in server.written
    assert str(server.state / "admin-token") in server.written


def test_a_deleted_token_file_means_a_new_token_and_the_end_of_the_old_one(desk: Desk) -> None:
    server = desk.serve()
    old = (server.state / "admin-token").read_text().strip()
    assert desk.nexus(server, "ls", NEXUS_TOKEN=old).returncode == 0
    server.stop()
    (server.state / "admin-token").unlink()
    server = desk.serve()
    new = (server.state / "admin-token").read_text().strip()
    assert old != new
    assert desk.nexus(server, "ls", NEXUS_TOKEN=old).returncode == 4
    assert desk.nexus(server, "ls", NEXUS_TOKEN=new).returncode == 0


def test_a_second_server_on_the_same_directory_is_refused(desk: Desk) -> None:
    server = desk.serve()
    refused = desk.refused("--listen", "127.0.0.1:0", "--state-dir", str(server.state))
    assert refused.returncode == 6
    assert "Another server runs on" in refused.stderr
    assert "fix: " in refused.stderr
    assert desk.nexus(server, "health").returncode == 0


def test_an_address_in_use_is_told_before_anything_is_opened(desk: Desk) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        refused = desk.refused("--listen", listen, "--state-dir", str(desk.home / "state"))
    assert refused.returncode == 6
    for part in (f"cannot listen on {listen}", "why: ", "fix: ", "--listen", "(address_in_use)"):
        assert part in refused.stderr
    assert [file.name for file in (desk.home / "state").iterdir()] == ["lock"]


def test_a_second_server_with_the_same_settings_is_told_of_the_directory(desk: Desk) -> None:
    server = desk.serve()
    listen = server.url.rpartition("/")[2]
    for address in (listen, "127.0.0.1:0"):
        refused = desk.refused("--listen", address, "--state-dir", str(server.state))
        assert refused.returncode == 6
        for part in (f"Another server runs on {server.state}", "fix: Stop the other", "(state_directory_in_use)"):
            assert part in refused.stderr
    assert desk.nexus(server, "health").returncode == 0


def test_a_backup_while_the_server_runs_and_the_way_back(desk: Desk) -> None:
    server = desk.serve()
    key = desk.home / "alice.pub"
    key.write_text(FakeKeys().sample("alice").text + "\n")
    backup = desk.home / "backup.db"
    assert desk.nexus(server, "register", "alice", "--github-id", "1", "--key", str(key)).returncode == 0

    taken = desk.nexus(server, "backup", str(backup))
    assert taken.returncode == 0, taken.stderr
    assert re.match(rf"{backup}: 1 user, 0 workspaces, .* verified in ", taken.stdout)
    assert f"{server.state}/database-key, without which it cannot be restored" in taken.stderr
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert desk.nexus(server, "backup", str(backup)).returncode == 6
    said = json.loads(desk.nexus(server, "backup", str(backup), "--force", "--json").stdout)
    assert (said["file"], said["users"], said["workspaces"]) == (str(backup), 1, 0)

    running = desk.nexus(server, "restore", str(backup))
    assert running.returncode == 6
    assert "Stop it first" in running.stderr
    assert server.stop() == 0

    restored = desk.nexus(server, "restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    assert "is the backup now: 1 user, 0 workspaces" in restored.stdout
    assert "nexus.db.before-restore-" in restored.stderr
    said = json.loads(desk.nexus(server, "restore", str(backup), "--json").stdout)
    assert (said["users"], Path(said["kept"]).parent) == (1, server.state)

    server.state.joinpath("database-key").rename(desk.home / "key")
    refused = desk.nexus(server, "restore", str(backup))
    assert refused.returncode == 1
    assert "database-key" in refused.stderr
    desk.home.joinpath("key").rename(server.state / "database-key")
    assert desk.nexus(desk.serve(), "token", "ls", "--user", "alice").returncode == 0


def test_settings_that_are_wrong(desk: Desk) -> None:
    config = desk.home / "nexus.toml"
    config.write_text("ssh_prots = 1\n")
    refused = desk.refused("--config", str(config))
    assert refused.returncode == 2
    assert "There is no setting `ssh_prots`" in refused.stderr
    assert "ssh_ports" in refused.stderr
    assert desk.refused(NEXUS_CONFIG=str(config)).returncode == 2
    assert desk.refused(NEXUS_LISTEN="nowhere").returncode == 2


def test_an_unknown_variable_is_warned_about(desk: Desk) -> None:
    server = desk.serve(NEXUS_SSH_PROTS="1", NEXUS_SSH_PORTS="2230-2240")
    assert "NEXUS_SSH_PROTS is no setting of Nexus and is ignored" in server.written
    assert desk.json(server, "status")["ports"]["ssh"]["first"] == 2230


def test_no_server(desk: Desk) -> None:
    server = desk.serve()
    server.stop()
    unreachable = desk.nexus(server, "ls")
    assert unreachable.returncode == 3
    assert "Is `nexus serve` running?" in unreachable.stderr
