"""The stage: an LXD of its own, a server on it, people with keys, and a repository to clone."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import measure
from git_daemon import git_daemon
from own_lxd import OwnLxd

from chaos.journal import Journal
from chaos.ledger import Ledger, Person
from chaos.server import ServerProcess

PEOPLE = ("alice", "bob", "carol")
_SETTINGS = {
    "NEXUS_HEARTBEAT_INTERVAL": "2",
    "NEXUS_RECONCILE_INTERVAL": "4",
    "NEXUS_ORPHAN_GRACE": "6",
    "NEXUS_STOP_GRACE": "5",
    "NEXUS_LOG_LEVEL": "info",
}
_TIMEOUT = 75.0


@dataclass
class World:
    """Everything the clients, the faults and the verdict share."""

    folder: Path
    seed: int
    lxd: OwnLxd
    server: ServerProcess
    journal: Journal
    ledger: Ledger
    repository: str
    server_turn: threading.RLock  # whoever kills or starts the server has it
    strike: threading.Event  # set: the next request that changes something is followed by a kill

    def random(self, name: str) -> random.Random:
        """A source of randomness that depends on the seed and the name alone."""
        return random.Random(f"{self.seed}/{name}")  # noqa: S311  # it must be repeatable

    def client(self, token: str) -> httpx.Client:
        """An HTTP client that speaks for the token's owner."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"{self.server.url}/api/v1", headers=headers, timeout=_TIMEOUT)

    @property
    def server_id(self) -> str:
        with self.database() as database:
            (server_id,) = database.execute("SELECT id FROM server").fetchone()
            return str(server_id)

    @contextmanager
    def database(self) -> Generator[sqlite3.Connection]:
        """The server's database, as another program reads it."""
        with closing(sqlite3.connect(f"file:{self.server.state}/nexus.db?mode=ro", uri=True, timeout=30)) as database:
            yield database

    def new_key(self, person: str) -> Path:
        """A key pair that this person never had; the path of the private half."""
        number = len(list(self.folder.glob(f"keys/{person}-*.pub")))
        return measure.make_key(self.folder / "keys", f"{person}-{number}")

    def add_person(self, name: str, github_id: int) -> None:
        """Register a user, and issue it a token."""
        key = self.new_key(name)
        body = {"github_username": name, "github_id": github_id, "ssh_pubkey": key.with_suffix(".pub").read_text()}
        with self.client(self.server.token) as client:
            client.post("/users/register-github", json=body).raise_for_status()
            issued = client.post(f"/users/{name}/tokens", json={"label": "chaos"})
            issued.raise_for_status()
        self.ledger.people[name] = Person(name, issued.json()["token"], [key])


@contextmanager
def world(folder: Path, seed: int) -> Generator[World]:
    """A stage in this folder, taken down in the end; the journal, the logs and the database stay in it."""
    with ExitStack() as stack:
        lxd = OwnLxd(folder / "lxd")
        stack.callback(lxd.remove)
        stack.callback(_keep_logs, folder)
        lxd.make()
        (folder / "keys").mkdir()
        _make_repository(folder / "git")
        journal = Journal(folder / "journal.jsonl")
        stack.callback(journal.close)
        server = ServerProcess(folder / "state", _SETTINGS | _ports(lxd) | lxd.settings)
        repository = stack.enter_context(git_daemon(folder / "git", lxd.bridge))
        stage = World(
            folder=folder,
            seed=seed,
            lxd=lxd,
            server=server,
            journal=journal,
            ledger=Ledger(),
            repository=f"{repository}/small.git",
            server_turn=threading.RLock(),
            strike=threading.Event(),
        )
        server.start()
        stack.callback(_forget, stage)
        stack.callback(server.kill)
        for number, name in enumerate(PEOPLE, 1):
            stage.add_person(name, number)
        yield stage


def _ports(lxd: OwnLxd) -> dict[str, str]:
    """Ranges away from the defaults and from those of other trials on this machine, below what the kernel gives out."""
    ssh = 20000 + 200 * int(lxd.bridge[-1])
    services = 24000 + 400 * int(lxd.bridge[-1])
    return {"NEXUS_SSH_PORTS": f"{ssh}-{ssh + 199}", "NEXUS_SERVICE_PORTS": f"{services}-{services + 399}"}


def _keep_logs(folder: Path) -> None:
    """LXD's own words, and those of each container's monitor, outlive the LXD."""
    for log in [folder / "lxd" / "daemon.log", *(folder / "lxd" / "lxd" / "logs").glob("*/lxc.log")]:
        if log.exists():
            kept = folder / "lxd-logs" / log.relative_to(folder / "lxd").as_posix().replace("/", "_")
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(log, kept)


def _forget(stage: World) -> None:
    table = f"nexus_{stage.server_id}".replace("-", "_")
    subprocess.run(["nft", "delete", "table", "ip", table], check=False, capture_output=True)


def _make_repository(folder: Path) -> None:
    work = folder / "work"
    work.mkdir(parents=True)
    (work / "README").write_text("Cloned in the trial of faults.\n", encoding="utf-8")
    identity = {f"GIT_{role}_{part}": "trial" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environment = {**os.environ, **identity}
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Begin"]):
        subprocess.run(["git", *arguments], cwd=work, check=True, env=environment)
    subprocess.run(["git", "clone", "--quiet", "--bare", work, folder / "small.git"], check=True)
