"""Repositories on the real thing: cloned by every way there is, opened by secrets that show nowhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import measure
import pytest
from git_daemon import git_daemon

import git_servers
from git_servers import commit, git, repository
from live import OWNER, Live, living

pytestmark = [pytest.mark.lxd, pytest.mark.usefixtures("lxd")]

CONFIG = """\
version: "1.0"
name: page
services:
  page:
    command: exec python3 -m http.server --bind 127.0.0.1 8000
    port: 8000
    env: {GREETING: "hello there"}
    health_check: /index.html
lifecycle:
  pre_start: |
    #!/bin/bash
    echo "$PWD" >~/where
    echo "<h1>hello</h1>" >index.html
  post_start: curl -sf http://localhost:8000/ >~/seen
providers:
  lxc: {image: "ubuntu:22.04", cpu: 1, memory: 512MiB}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(tmp_path_factory.mktemp("repositories")) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_is_left(live: Live) -> Iterator[None]:
    yield
    live.remove_everything()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories to clone: page (with a configuration), parts (with a submodule)."""
    folder = tmp_path_factory.mktemp("git")
    repository(folder / "page", {".nexus/config.yaml": CONFIG})
    git(folder / "page", "branch", "other")
    parts = repository(folder / "parts", {"a": "a\n"})
    git(parts, "submodule", "--quiet", "add", "../page", "vendored/page")
    commit(parts, {}, "with a part")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with git_daemon(folder) as address:
        yield address


def test_a_repository_says_how_it_is_run(live: Live, folder: Path, address: str) -> None:
    workspace = live.create("page", repo={"url": f"{address}/page"})

    assert workspace["repository"] == {
        "owner": None,
        "name": "page",
        "branch": "main",
        "commit": git(folder / "page", "rev-parse", "HEAD"),
        "url": f"{address}/page",
        "is_fork": False,
    }
    assert [step["status"] for step in workspace["progress"]] == ["done"] * 8
    assert workspace["services"]["page"]["health"] == "healthy"
    assert workspace["resources"] == {"cpu": 1, "memory": "512MiB", "disk": "20GiB"}
    assert any("ubuntu:22.04" in note for note in workspace["notes"])
    assert live.inside(workspace, "cat ~/where ~/seen") == "/home/dev/workspace\n<h1>hello</h1>\n"
    # LXD gives out its cores anew in its own time.
    live.inside(workspace, "for _ in $(seq 50); do [ $(nproc) = 1 ] && exit; sleep 0.2; done; exit 1")
    # As shallow as can be, and the rest a matter of asking.
    assert live.inside(workspace, "cd ~/workspace && git rev-list --count HEAD") == "1\n"
    assert live.inside(workspace, "cd ~/workspace && git fetch -q --unshallow && git rev-list --count HEAD") == "2\n"
    assert "origin/other" in live.inside(workspace, "cd ~/workspace && git branch --remotes")
    fetched = subprocess.run(
        ["curl", "-sf", workspace["services"]["page"]["url"]], capture_output=True, text=True, check=False
    )
    assert fetched.stdout == "<h1>hello</h1>\n"


def test_the_request_wins_over_the_file(live: Live, address: str) -> None:
    own = [{"name": "mine", "command": "exec sleep 1000"}]
    workspace = live.create("mine", repo={"url": f"{address}/page"}, services=own, resources={"cpu": 2})

    assert list(workspace["services"]) == ["mine"]
    assert workspace["resources"]["cpu"] == 2
    assert workspace["progress"][5]["status"] == "skipped"


def test_a_branch_with_submodules(live: Live, folder: Path, address: str) -> None:
    head = commit(folder / "parts", {"b": "b\n"})
    git(folder / "parts", "branch", "--force", "feature/x")
    workspace = live.create("parts", repo={"url": f"{address}/parts", "branch": "feature/x"})

    assert workspace["repository"]["branch"] == "feature/x"
    assert workspace["repository"]["commit"] == head
    assert "version" in live.inside(workspace, "cat ~/workspace/vendored/page/.nexus/config.yaml")


@pytest.mark.parametrize(
    ("repo", "said"),
    [
        ({"url": "{address}/nowhere"}, ("could not be cloned", "git says", "Check the address")),
        ({"url": "{address}/page", "branch": "nope"}, ("Remote branch nope not found", "There is no branch 'nope'")),
        ({"url": "git://127.0.0.1:9/x"}, ("unable to connect", "Check the host's name")),
    ],
)
def test_what_cannot_be_cloned_ends_in_gits_own_reason(
    live: Live, address: str, repo: dict[str, str], said: tuple[str, ...]
) -> None:
    failed = live.failing("nowhere", repo={name: value.format(address=address) for name, value in repo.items()})

    assert failed["error"]["code"] == "clone_failed"
    assert failed["error"]["step"] == "clone_repository"
    for part in said:
        assert part in failed["error"]["message"]


def test_start_tries_again(live: Live, folder: Path, address: str) -> None:
    failed = live.failing("patient", repo={"url": f"{address}/page", "branch": "later"})
    git(folder / "page", "branch", "later")
    assert live.start(failed)["repository"]["branch"] == "later"


def test_a_file_that_cannot_be_understood_is_named_and_can_be_mended(live: Live, folder: Path, address: str) -> None:
    repository(folder / "typo", {".nexus/config.yaml": "services:\n  page:\n    comand: sleep 1\n"})
    failed = live.failing("typo", repo={"url": f"{address}/typo"})
    assert failed["error"]["code"] == "invalid_config"
    for part in (".nexus/config.yaml", "line 3", "comand", "command"):
        assert part in failed["error"]["message"]

    live.inside(failed, "sed -i 's/comand: sleep 1/command: exec sleep 1000/' ~/workspace/.nexus/config.yaml")
    assert live.start(failed)["services"]["page"]["status"] == "running"


def test_a_token_opens_and_shows_nowhere(live: Live, folder: Path) -> None:
    canary = "ghp-canary-5e0b1d"
    with git_servers.web(folder, canary) as address:
        closed = live.failing("closed", repo={"url": f"{address}/page/.git"})
        assert "repo.token" in closed["error"]["message"]
        workspace_id = live.accept("opened", repo={"url": f"{address}/page/.git", "token": canary})
        kept = _everything_in(live.state)
        workspace = live.settled(workspace_id, "running")
        assert canary.encode() not in kept + _everything_in(live.state)
        assert canary not in json.dumps(live.show(workspace_id)) + live.log(workspace)
        assert canary not in live.inside(workspace, "ps -eo args; git -C ~/workspace remote -v")
        assert canary not in live.inside(workspace, "cat ~/workspace/.git/config")
        # The history, of which only the tip was taken, can be had as well.
        live.inside(workspace, "cd ~/workspace && git fetch -q --unshallow")


def test_a_deploy_key_opens_and_shows_nowhere(live: Live, folder: Path, tmp_path: Path) -> None:
    key = measure.make_key(tmp_path, "deploy")
    with git_servers.shell(folder, key.with_suffix(".pub")) as address:
        closed = live.failing("closed", repo={"url": f"{address}/page"})
        assert "repo.deploy_key" in closed["error"]["message"]
        workspace = live.create("keyed", repo={"url": f"{address}/page", "deploy_key": key.read_text()})
        secret = key.read_text().splitlines()[1]
        assert secret.encode() not in _everything_in(live.state)
        assert secret not in live.log(workspace)
        assert live.inside(workspace, "stat -c %a:%U ~/.nexus/deploy_key") == "600:dev\n"
        live.inside(workspace, "cd ~/workspace && git fetch -q --unshallow")


def test_the_server_is_killed_while_it_clones(live: Live, folder: Path, address: str) -> None:
    workspace_id = live.accept("interrupted", repo={"url": f"{address}/page"})
    live.until(workspace_id, lambda one: bool(one["progress"][4]["status"] in ("running", "done")))
    live.crash_and_restart()
    workspace = live.settled(workspace_id, "running")
    assert workspace["repository"]["commit"] == git(folder / "page", "rev-parse", "main")
    assert live.log(workspace).count("==> git clone") == 1


def test_a_devcontainer_is_used_as_far_as_it_goes(live: Live, folder: Path, address: str) -> None:
    said = """{
        // what other tools start from
        "image": "mcr.microsoft.com/devcontainers/python:3",
        "postCreateCommand": "echo created-$COLOUR >~/created",
        "postStartCommand": ["sh", "-c", "echo started >~/started"],
        "forwardPorts": [9000],
        "containerEnv": {"COLOUR": "blue green"},
        "remoteUser": "vscode",
        "features": {"ghcr.io/devcontainers/features/node:1": {}},
    }"""
    repository(folder / "container", {".devcontainer/devcontainer.json": said})
    workspace = live.create("container", repo={"url": f"{address}/container"})

    assert live.inside(workspace, "cat ~/created ~/started") == "created-blue green\nstarted\n"
    assert live.inside(workspace, "bash -lc 'echo $COLOUR'") == "blue green\n"
    notes = "\n".join(workspace["notes"])
    for part in ("image", "remoteUser", "features"):
        assert part in notes
    live.inside(workspace, "cd; nohup python3 -m http.server --bind 127.0.0.1 9000 >/dev/null 2>&1 & sleep 0.5")
    [service] = workspace["services"].values()
    fetched = subprocess.run(["curl", "-sf", service["url"]], capture_output=True, check=False)
    assert fetched.returncode == 0


def test_a_folder_of_ones_own_is_sent_along(live: Live, tmp_path: Path) -> None:
    mine = repository(tmp_path / "mine", {"hello": "hello\n"})
    environment = {**live.server.environment()}
    done = subprocess.run(
        [measure.NEXUS, "create", "sent", "--user", OWNER, "--repo", str(mine)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = live.request("GET", "/workspaces").json()["workspaces"]
    workspace = live.show(listed[0]["workspace_id"])
    assert workspace["repository"]["commit"] == git(mine, "rev-parse", "HEAD")
    assert workspace["repository"]["branch"] == "main"
    assert live.inside(workspace, "cd ~/workspace && cat hello && git rev-list --count HEAD") == "hello\n2\n"
    assert not list((live.state / "bundles").iterdir())


def test_a_creation_waits_for_its_upload_also_across_a_crash(live: Live, tmp_path: Path) -> None:
    mine = repository(tmp_path / "mine", {"hello": "hello\n"})
    git(mine, "bundle", "create", str(tmp_path / "bundle"), "HEAD", "main")
    workspace_id = live.accept("waits", repo={"bundle": True})
    live.until(workspace_id, lambda one: bool(one["progress"][4]["status"] == "running"))
    live.crash_and_restart()
    content = (tmp_path / "bundle").read_bytes()
    answer = live.request(
        "PUT",
        f"/workspaces/{workspace_id}/repository-bundle",
        content=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 202, answer.text
    assert live.inside(live.settled(workspace_id, "running"), "cat ~/workspace/hello") == "hello\n"


def _everything_in(state: Path) -> bytes:
    return b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
