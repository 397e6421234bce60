"""`nexus doctor` on a real server with an LXD of its own: what is broken by hand is found, and with --fix mended."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import measure
import pytest
from own_lxd import IMAGE, PROJECT, OwnLxd

from contracts.examiner_contract import ExaminerContract, ExaminerStage
from live import Live, living
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.errors import PublishFailed
from nexus_core.ports.port_publisher import Target
from nexus_fakes import FakeClock
from nexus_lxd.connection import Connection
from nexus_lxd.examination import LxdExaminer
from nexus_lxd.instances import BUILDER, STENCIL
from nexus_nftables import NftablesPublisher

pytestmark = pytest.mark.lxd

NOBODY = "10.255.78.9"  # the address of no instance
Findings = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def own(own_lxd: OwnLxd) -> OwnLxd:
    """A daemon that may be broken."""
    return own_lxd


@pytest.fixture(scope="module")
def live(own: OwnLxd, tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    """A server on it."""
    with living(tmp_path_factory.mktemp("doctor"), own.settings) as live:
        yield live


class Doctor:
    """The command, for one server."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def run(self, *options: str, settings: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """The exit code and the JSON."""
        server = self.live.server
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
        environment |= {**server.settings, "NEXUS_LISTEN": server.url.partition("//")[2], **(settings or {})}
        done = subprocess.run(
            [measure.NEXUS, "doctor", "--json", "--state-dir", server.state, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert not done.stderr, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, answer

    def finds(self, **settings: str) -> Findings:
        """What is not well, by its subject; the exit code says the same."""
        code, said = self.run(settings=settings)
        failed = [one for one in said["findings"] if one["verdict"] == "failure"]
        assert (code, said["well"]) == ((1, False) if failed else (0, True))
        return {one["subject"]: one for one in said["findings"] if one["verdict"] != "ok"}

    def mends(self, **settings: str) -> Findings:
        """What was done, by its subject; all of it went well and shows no more."""
        _, said = self.run("--fix", settings=settings)
        assert [one for one in said["mended"] if one["verdict"] != "ok"] == []
        assert [one for one in said["findings"] if one["mend"]] == []
        return {one["subject"]: one for one in said["mended"]}


@pytest.fixture
def doctor(live: Live) -> Generator[Doctor]:
    """The command; a test may stop the server, and leave workspaces."""
    yield Doctor(live)
    if not Path(f"/proc/{live.server.pid}").exists():
        live.restart()
    live.remove_everything()


def server_id(live: Live) -> str:
    """The mark of the server."""
    with closing(sqlite3.connect(f"file:{live.state}/nexus.db?mode=ro", uri=True)) as connection:
        (mark,) = connection.execute("SELECT id FROM server").fetchone()
    return str(mark)


def test_a_healthy_server_has_no_failure(doctor: Doctor) -> None:
    doctor.live.create("web", services=[{"name": "page", "command": "python3 -m http.server 3000", "port": 3000}])
    code, said = doctor.run()
    assert (code, said["well"], said["counts"]["failure"]) == (0, True, 0)
    assert said["mended"] == []
    areas = list(dict.fromkeys(one["area"] for one in said["findings"]))
    assert areas == ["server", "host", "lxd", "nftables", "database", "workspaces", "ports"]
    says = {(one["area"], one["subject"]): one["says"] for one in said["findings"]}
    assert says["server", "process"] == f"runs as process {doctor.live.server.pid}"
    assert says["workspaces", "records"] == "1, 1 of them running"
    assert says["ports", "published"] == "2, and each leads where it should"


def test_the_same_with_the_server_stopped(doctor: Doctor) -> None:
    doctor.live.create("web")
    measure.stop_server(doctor.live.server)
    found = doctor.finds()
    assert list(found) == ["process"]
    assert doctor.mends() == {}


def test_an_orphan_is_removed_and_another_servers_container_is_not(doctor: Doctor, own: OwnLxd) -> None:
    mark = server_id(doctor.live)
    with made(own, "nexus-orphan", server=mark), made(own, "nexus-stranger", server="another"):
        found = doctor.finds(NEXUS_ORPHAN_GRACE="3600")
        assert (found["nexus-orphan"]["verdict"], found["nexus-orphan"]["mend"]) == ("warning", False)
        measure.stop_server(doctor.live.server)
        found = doctor.finds(NEXUS_ORPHAN_GRACE="0")
        assert (found["nexus-orphan"]["verdict"], found["nexus-orphan"]["mend"]) == ("failure", True)
        assert "nexus-stranger" not in found
        assert list(doctor.mends(NEXUS_ORPHAN_GRACE="0")) == ["nexus-orphan"]
        left = own.lxc("list", "--project", PROJECT, "--format", "csv", "--columns", "n").split()
        assert "nexus-orphan" not in left
        assert "nexus-stranger" in left


@contextmanager
def made(own: OwnLxd, name: str, **marks: str) -> Generator[None]:
    """A container made by hand, with these marks."""
    marked = [word for key, value in marks.items() for word in ("--config", f"user.nexus.{key}={value}")]
    own.lxc("init", IMAGE, name, "--project", PROJECT, *marked)
    try:
        yield
    finally:
        with suppress(RuntimeError):
            own.lxc("delete", "--force", name, "--project", PROJECT)


def test_a_container_that_was_stopped_by_hand_is_found_and_the_server_sees_to_it(doctor: Doctor, own: OwnLxd) -> None:
    live = doctor.live
    workspace = live.create("web")
    measure.stop_server(live.server)
    own.lxc("stop", "--force", workspace["container_id"], "--project", PROJECT)
    found = doctor.finds()
    assert found["alice/web"]["says"].endswith("is stopped")
    assert (found["alice/web"]["verdict"], found["alice/web"]["mend"]) == ("failure", False)
    live.restart()
    live.until(workspace["workspace_id"], lambda one: one["status"] == "stopped")
    assert "alice/web" not in doctor.finds()


def test_a_container_that_is_gone_is_found(doctor: Doctor, own: OwnLxd) -> None:
    workspace = doctor.live.create("web")
    measure.stop_server(doctor.live.server)
    own.lxc("delete", "--force", workspace["container_id"], "--project", PROJECT)
    found = doctor.finds()
    assert "has lost its container" in found["alice/web"]["says"]
    # Its port leads to nothing, and is the workspace's all the same.
    assert not [subject for subject in found if subject.startswith("port")]


def test_ports_that_were_changed_by_hand_are_put_right(doctor: Doctor) -> None:
    live = doctor.live
    workspace = live.create("web")
    table, port = f"nexus_{server_id(live)}", workspace["ssh"]["port"]
    measure.stop_server(live.server)
    nft(f"delete element ip {table} ports {{ {port} }}")
    nft(f"add element ip {table} ports {{ 2299 : {NOBODY} . 22 }}")
    found = doctor.finds()
    assert {f"port {port}", "port 2299"} <= found.keys()
    assert doctor.mends().keys() == {f"port {port}", "port 2299"}
    assert list(doctor.finds()) == ["process"]


def test_a_table_that_was_damaged_by_hand_is_whole_again(doctor: Doctor, own: OwnLxd) -> None:
    live = doctor.live
    live.create("web")
    table = f"table nexus_{server_id(live)}"
    measure.stop_server(live.server)
    nft(f"flush chain ip {table.removeprefix('table ')} arriving")
    setting = Path(f"/proc/sys/net/ipv4/conf/{own.bridge}/route_localnet")
    setting.write_text("0")
    found = doctor.finds()
    assert found[table]["mend"]
    assert found["route_localnet"]["mend"] is False, "not before the guard is there again"
    assert table in doctor.mends()
    assert setting.read_text().strip() == "1"


async def test_a_table_that_leads_nowhere_is_removed_and_others_stay(doctor: Doctor, own: OwnLxd) -> None:
    workspace = doctor.live.create("web")
    address = own.lxc("config", "get", workspace["container_id"], "user.nexus.address", "--project", PROJECT)
    behind = NftablesPublisher(server_id="e2edoctorgone", bridge=own.bridge)
    alive = NftablesPublisher(server_id="e2edoctorlives", bridge=own.bridge)
    elsewhere = NftablesPublisher(server_id="e2edoctorfar", bridge="nxabsent0")
    try:
        await behind.publish(20901, Target(NOBODY, 22))
        await alive.publish(20902, Target(address.partition("/")[0], 22))
        await elsewhere.publish(20903, Target(NOBODY, 22))
        assert doctor.finds()["table nexus_e2edoctorgone"]["mend"]
        assert list(doctor.mends()) == ["table nexus_e2edoctorgone"]
        assert await behind.published() == {}
        assert list(await alive.published()) == [20902]
        assert list(await elsewhere.published()) == [20903]
        assert doctor.run()[0] == 0
    finally:
        for one in (behind, alive, elsewhere):
            with suppress(PublishFailed):
                await one.remove()


def nft(script: str) -> None:
    subprocess.run(["nft", script], check=True, capture_output=True)


def test_files_that_others_may_read_are_closed(doctor: Doctor) -> None:
    token = doctor.live.state / "admin-token"
    token.chmod(0o644)
    assert doctor.finds()[str(token)]["mend"]
    assert token.stat().st_mode & 0o777 == 0o644
    assert str(token) in doctor.mends()
    assert token.stat().st_mode & 0o777 == 0o600


class TestLxd:
    """What can be missing of LXD; the server runs and says the same in its way."""

    def test_a_daemon_that_was_killed(self, doctor: Doctor, own: OwnLxd) -> None:
        own.kill()
        try:
            found = doctor.finds()
            assert found["daemon"]["verdict"] == "failure"
            assert "nothing answers" in found["daemon"]["says"]
            assert found["containers"]["verdict"] == "warning"
        finally:
            own.start()

    def test_a_daemon_that_hangs(self, doctor: Doctor, own: OwnLxd) -> None:
        own.pause()
        try:
            found = doctor.finds()
        finally:
            own.resume()
        assert "did not answer within" in found["daemon"]["says"]

    def test_no_daemon_at_all(self, doctor: Doctor) -> None:
        found = doctor.finds(NEXUS_LXD_ENDPOINT="/nowhere/unix.socket")
        assert found["daemon"]["says"] == "LXD does not run: there is no /nowhere/unix.socket"

    def test_the_image_is_gone(self, doctor: Doctor, own: OwnLxd) -> None:
        fingerprint = own.lxc("image", "list", "--format", "csv", "--columns", "F").split()[0]
        own.lxc("image", "alias", "delete", IMAGE)
        try:
            assert "make setup" in doctor.finds()["image"]["fix"]
            found = doctor.finds(NEXUS_DEFAULT_IMAGE="ubuntu:22.04")
            assert "image" not in found
        finally:
            own.lxc("image", "alias", "create", IMAGE, fingerprint)

    def test_the_project_is_another(self, doctor: Doctor, own: OwnLxd) -> None:
        found = doctor.finds(NEXUS_LXD_PROJECT="nobody")
        assert found["project"]["says"] == "there is no project nobody"
        found = doctor.finds(NEXUS_LXD_PROJECT="default")
        assert found["project"]["says"] == "default has features.images=true, features.networks=true"
        assert "lxc project set default" in found["project"]["fix"]

    def test_the_profile_is_empty(self, doctor: Doctor, own: OwnLxd) -> None:
        own.lxc("profile", "device", "remove", "default", "root", "--project", PROJECT)
        try:
            assert doctor.finds()["profile"]["fix"] == "Run `make setup` on the host."
        finally:
            own.lxc("profile", "device", "add", "default", "root", "disk", "path=/", "pool=nexus", "--project", PROJECT)

    def test_the_settings_name_another_bridge(self, doctor: Doctor) -> None:
        assert "the settings say nxabsent0" in doctor.finds(NEXUS_LXD_BRIDGE="nxabsent0")["bridge"]["says"]

    @pytest.mark.parametrize("command", [("link", "delete"), ("link", "set", "down")])
    def test_the_bridge_is_gone_or_down(self, doctor: Doctor, own: OwnLxd, command: tuple[str, ...]) -> None:
        subprocess.run(["ip", *command, own.bridge], check=True)
        found = doctor.finds()
        assert (found["bridge"]["verdict"], found["bridge"]["mend"]) == ("failure", True)
        assert "bridge" in doctor.mends()
        assert "bridge" not in doctor.finds()
        workspace = doctor.live.create("web")
        assert doctor.live.inside(workspace, "echo reached") == "reached\n"


class TestExaminer(ExaminerContract):
    """With a clock that says that what was just made is old."""

    @pytest.fixture
    async def stage(self, own: OwnLxd) -> AsyncIterator[ExaminerStage]:
        connection = Connection(
            endpoint=str(own.socket),
            client_cert=None,
            client_key=None,
            server_cert=None,
            project=PROJECT,
            workers=2,
        )
        examiner = LxdExaminer(
            connection,
            server_id="e2e-doctor",
            endpoint=str(own.socket),
            bridge=own.bridge,
            image=IMAGE,
            remotes={},
            clock=FakeClock(datetime.now(UTC) + timedelta(hours=3)),
        )

        def spoil() -> str:
            own.lxc("init", IMAGE, "nexus-image-1", "--project", PROJECT, "--config", f"{BUILDER}=e2e-doctor")
            return "nexus-image-1"

        yield ExaminerStage(examiner, spoil)
        await connection.close()
        with suppress(RuntimeError):
            own.lxc("delete", "--force", "nexus-image-1", "--project", PROJECT)

    async def test_another_servers_builder_and_one_at_work_are_left_alone(
        self, stage: ExaminerStage, own: OwnLxd
    ) -> None:
        with made_with(own, PROJECT, "nexus-image-2", f"{BUILDER}=another"):
            assert await trouble(stage) == {}

    async def test_a_half_made_stencil_is_removed(self, stage: ExaminerStage, own: OwnLxd, doctor: Doctor) -> None:
        doctor.live.create("web")  # which makes the project
        with made_with(own, f"{PROJECT}-stencils", "nexus-stencil-1", f"{STENCIL}=123456789012"):
            found = await trouble(stage)
            assert list(found) == ["nexus-stencil-1"]
            assert (await stage.examiner.mend(found["nexus-stencil-1"])).says == "is removed"
            assert await trouble(stage) == {}


async def trouble(stage: ExaminerStage) -> dict[str, Finding]:
    return {one.subject: one for one in await stage.examiner.examine() if one.verdict is not Verdict.OK}


@contextmanager
def made_with(own: OwnLxd, project: str, name: str, mark: str) -> Generator[None]:
    """A container in a project, with one mark."""
    own.lxc("init", IMAGE, name, "--project", project, "--config", mark, "--storage", "nexus")
    try:
        yield
    finally:
        with suppress(RuntimeError):
            own.lxc("delete", "--force", name, "--project", project)
