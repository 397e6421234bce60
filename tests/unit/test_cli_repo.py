"""``nexus create --repo`` and ``nexus send``: addresses, secrets, and repositories of this machine, with real git."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nexus_cli import bundles, git
from nexus_cli.api import Api
from nexus_cli.errors import Refused
from nexus_cli.wire import Upload, parse_url
from stub_api import ACCEPTED, TOKEN, WS, Said, Shell, refusal, service, shell, step, workspace

POLL = f"/workspaces/{WS}/status"
BUNDLE = f"/workspaces/{WS}/repository-bundle"
SECRET = "ghp_" + "s" * 36
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
URL = "https://github.com/my-org/my-project.git"


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    for name in [one for one in os.environ if one.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with shell(monkeypatch, tmp_path, capsys) as ready:
        ready.api.on("POST", "/workspaces", Said(202, ACCEPTED))
        ready.api.on("PUT", BUNDLE, Said(202, {"workspace_id": WS, "status": "creating"}))
        ready.api.on("GET", POLL, workspace())
        yield ready


def run(folder: Path, *arguments: str) -> str:
    words = ["git", "-C", str(folder), "-c", "user.name=alice", "-c", "user.email=alice@example.com", *arguments]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, name: str) -> str:
    (folder / name).write_text(f"{name}\n")
    run(folder, "add", name)
    run(folder, "commit", "--quiet", "--message", name)
    return run(folder, "rev-parse", "HEAD")


@pytest.fixture
def repo(sh: Shell, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    run(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "first")
    run(folder, "tag", "v1")
    return folder


def cloned(sh: Shell, where: Path, *options: str) -> Path:
    """What somebody gets who clones the bundle that was sent last."""
    sent = [one for one in sh.api.asked if one.method == "PUT"][-1]
    assert sent.headers["content-type"] == "application/octet-stream"
    assert int(sent.headers["content-length"]) == len(sent.body)
    file = where / "sent.bundle"
    file.write_bytes(sent.body)
    run(where, "clone", "--quiet", *options, str(file), "clone")
    return where / "clone"


def asked_repo(sh: Shell) -> Any:
    return next(one.body for one in sh.api.asked if one.method == "POST")["repo"]


class TestAddress:
    @pytest.mark.parametrize(
        ("repo", "request_"),
        [
            (URL, {"url": URL}),
            ("git@github.com:my-org/my-project.git", {"url": "git@github.com:my-org/my-project.git"}),
            ("ssh://git@example.com:2222/a", {"url": "ssh://git@example.com:2222/a"}),
            ("my-org/my-project", {"owner": "my-org", "name": "my-project"}),
            ("my-org/my.project.git", {"owner": "my-org", "name": "my.project"}),
        ],
    )
    def test_of_a_repository(self, sh: Shell, repo: str, request_: dict[str, str]) -> None:
        assert sh("create", "web", "--repo", repo).code == 0
        assert asked_repo(sh) == request_
        assert sh("create", "web", "--repo", repo, "--branch", "dev").code == 0
        assert sh.api.asked[-2].body["repo"] == {**request_, "branch": "dev"}

    @pytest.mark.parametrize("repo", ["", "nowhere", "./my-project", "../x", "a/b/c", "github.com/a/b", "a/..", "/no"])
    def test_none(self, sh: Shell, tmp_path: Path, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        outcome = sh("create", "web", "--repo", repo)
        assert outcome.code == 2
        assert ("OWNER/NAME" in outcome.err) or repo == ""
        assert [one.method for one in sh.api.asked] == []

    def test_set_up(self, sh: Shell) -> None:
        assert sh("create", "web", "--setup", "npm ci", "--setup", "--x").code == 0
        assert sh.api.asked[0].body == {"workspace_name": "web", "setup": ["npm ci", "--x"]}


class TestSecrets:
    def test_a_token_of_a_file(self, sh: Shell, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(f"{SECRET}\n")
        outcome = sh("create", "web", "--repo", URL, "--token-file", str(tmp_path / "token"))
        assert asked_repo(sh) == {"url": URL, "token": SECRET}
        assert SECRET not in outcome.out + outcome.err

    def test_a_token_of_standard_input(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
        assert sh("create", "web", "--repo", "my-org/my-project", "--token-file", "-").code == 0
        assert asked_repo(sh)["token"] == SECRET

    @pytest.mark.parametrize(
        ("repo", "goes"),
        [
            (URL, True),
            ("my-org/my-project", True),
            ("http://example.com/a", False),
            ("git@github.com:a/b", False),
        ],
    )
    def test_a_token_of_the_environment_goes_over_https_alone(
        self, sh: Shell, monkeypatch: pytest.MonkeyPatch, repo: str, goes: bool
    ) -> None:
        monkeypatch.setenv("NEXUS_REPO_TOKEN", f" {SECRET}\n")
        assert sh("create", "web", "--repo", repo).code == 0
        assert asked_repo(sh).get("token") == (SECRET if goes else None)

    def test_a_deploy_key(self, sh: Shell, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(KEY)
        assert sh("create", "web", "--repo", "git@x:y", "--deploy-key", str(tmp_path / "key")).code == 0
        assert asked_repo(sh) == {"url": "git@x:y", "deploy_key": f"{KEY}\n"}

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"ssh-ed25519 AAAA alice@laptop", "no private key"),
            (b"\xff\xfe", "not a text file"),
            (b"\n", "is empty"),
            (b"x" * 40_000, "too long"),
            (None, "No such file"),
        ],
    )
    def test_other_files_are_not_sent(self, sh: Shell, tmp_path: Path, content: bytes | None, said: str) -> None:
        file = tmp_path / "key"
        if content is not None:
            file.write_bytes(content)
        outcome = sh("create", "web", "--repo", "git@x:y", "--deploy-key", str(file))
        assert outcome.code == 2
        assert said in outcome.err
        assert sh.api.asked == []

    @pytest.mark.parametrize(
        "options",
        [
            ["--branch", "main"],
            ["--token-file", "x"],
            ["--deploy-key", "x"],
            ["--repo", ".", "--token-file", "x"],
            ["--repo", ".", "--deploy-key", "x"],
            ["--repo", URL, "--token-file", "x", "--deploy-key", "y"],
        ],
    )
    def test_what_does_not_go_together(self, sh: Shell, options: list[str]) -> None:
        assert sh("create", "web", *options).code == 2
        assert sh.api.asked == []


class TestLocal:
    def test_what_is_checked_out(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        run(repo, "remote", "add", "origin", URL)
        run(repo, "branch", "other")
        head = commit(repo, "second")
        outcome = sh("create", "web", "--repo", str(repo))
        assert (outcome.code, outcome.out) == (0, "ssh -p 2222 dev@staging.example.com\n")
        assert "warning" not in outcome.err
        assert asked_repo(sh) == {"bundle": True, "branch": "main", "url": URL}
        assert [one.method for one in sh.api.asked] == ["POST", "PUT", "GET"]
        clone = cloned(sh, tmp_path)
        assert run(clone, "rev-parse", "HEAD", "v1^{commit}").split() == [head, run(repo, "rev-parse", "v1")]
        assert run(clone, "branch", "--remotes", "--format", "%(refname)").split() == [
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/main",
        ]
        assert not list(tmp_path.glob("nexus-*"))

    def test_another_branch(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        run(repo, "switch", "--quiet", "--create", "feature/x")
        head = commit(repo, "second")
        run(repo, "switch", "--quiet", "main")
        commit(repo, "private")
        assert sh("create", "web", "--repo", str(repo), "--branch", "feature/x").code == 0
        assert asked_repo(sh) == {"bundle": True, "branch": "feature/x"}
        clone = cloned(sh, tmp_path, "--branch", "feature/x")
        assert run(clone, "rev-parse", "HEAD") == head
        assert "private" not in run(clone, "log", "--all", "--format=%s")

    def test_the_branch_that_is_checked_out_by_name(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        assert sh("create", "web", "--repo", str(repo), "--branch", "main").code == 0
        assert (cloned(sh, tmp_path) / "first").exists()

    def test_a_tag(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        commit(repo, "second")
        assert sh("create", "web", "--repo", str(repo), "--branch", "v1").code == 0
        assert not (cloned(sh, tmp_path, "--branch", "v1") / "second").exists()

    def test_no_branch_at_all(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        run(repo, "switch", "--quiet", "--detach")
        head = commit(repo, "second")
        assert sh("create", "web", "--repo", str(repo)).code == 0
        assert asked_repo(sh) == {"bundle": True}
        assert run(cloned(sh, tmp_path), "rev-parse", "HEAD") == head

    def test_the_current_folder_within_a_repository(
        self, sh: Shell, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (repo / "below").mkdir()
        monkeypatch.chdir(repo / "below")
        monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook
        outcome = sh("create", "web", "--repo", ".", "--no-wait")
        assert outcome.out == f"web is creating: {WS}\n"
        assert f"is sent: {repo}" in outcome.err
        monkeypatch.delenv("GIT_DIR")
        assert (cloned(sh, tmp_path) / "first").exists()

    def test_a_bare_repository(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        run(tmp_path, "clone", "--quiet", "--bare", str(repo), "bare.git")
        assert sh("create", "web", "--repo", str(tmp_path / "bare.git")).code == 0
        assert asked_repo(sh) == {"bundle": True, "branch": "main"}

    @pytest.mark.parametrize(("count", "said"), [(1, "1 file with"), (3, "3 files with")])
    def test_what_is_not_committed_is_told(self, sh: Shell, repo: Path, count: int, said: str) -> None:
        (repo / "first").write_text("changed")
        (repo / "new").mkdir()
        for number in range(count - 1):
            (repo / "new" / f"f {number}\n").write_text("")
        (repo / ".gitignore").write_text("ignored\n.gitignore\n")
        (repo / "ignored").write_text("")
        assert f"warning: {said} uncommitted changes" in sh("create", "web", "--repo", str(repo)).err
        assert sh("create", "web", "--repo", str(repo), "--json").err == ""

    def test_submodules_are_told(self, sh: Shell, repo: Path) -> None:
        commit(repo, ".gitmodules")
        assert "submodules are not sent" in sh("create", "web", "--repo", str(repo)).err

    @pytest.mark.parametrize(
        ("url", "shared"),
        [
            (URL, True),
            ("git@github.com:a/b.git", True),
            ("ssh://git@example.com/a", True),
            ("git://example.com/a", True),
            (f"https://{SECRET}@github.com/a/b", False),
            ("https://alice:secret@github.com/a/b", False),
            ("ssh://alice:secret@example.com/a", False),
            ("/home/alice/project", False),
            ("file:///home/alice/project", False),
            ("../project", False),
            ("https:///x", False),
        ],
    )
    def test_an_origin_that_is_good_elsewhere_too(self, url: str, shared: bool) -> None:
        assert git.shareable(url) is shared


class TestUnusable:
    def test_no_repository(self, sh: Shell, tmp_path: Path) -> None:
        (tmp_path / "plain").mkdir()
        outcome = sh("create", "web", "--repo", str(tmp_path / "plain"))
        assert outcome.code == 2
        assert "is not a git repository" in outcome.err
        assert sh.api.asked == []

    def test_no_commits(self, sh: Shell, tmp_path: Path) -> None:
        run(tmp_path, "init", "--quiet", "empty")
        outcome = sh("create", "web", "--repo", str(tmp_path / "empty"))
        assert outcome.code == 2
        assert "has no commits" in outcome.err

    def test_no_history(self, sh: Shell, repo: Path, tmp_path: Path) -> None:
        commit(repo, "second")
        run(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repo}", "shallow")
        outcome = sh("create", "web", "--repo", str(tmp_path / "shallow"))
        assert outcome.code == 2
        assert "--unshallow" in outcome.err

    @pytest.mark.parametrize("branch", ["nothing", "--all", "v1^{tree}", "main..v1"])
    def test_no_such_branch(self, sh: Shell, repo: Path, branch: str) -> None:
        outcome = sh("create", "web", "--repo", str(repo), f"--branch={branch}")
        assert outcome.code == 2
        assert "There is no branch" in outcome.err
        assert sh.api.asked == []

    def test_no_git(self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        outcome = sh("create", "web", "--repo", str(repo))
        assert outcome.code == 2
        assert "git is not installed" in outcome.err

    def test_a_git_that_cannot_be_run(
        self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "git").write_text("not a program")
        (tmp_path / "git").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        outcome = sh("create", "web", "--repo", str(repo))
        assert outcome.code == 2
        assert "git cannot be run" in outcome.err

    def test_a_repository_that_git_refuses(self, sh: Shell, repo: Path) -> None:
        (repo / ".git" / "config").write_text("[core\n")
        outcome = sh("create", "web", "--repo", str(repo))
        assert outcome.code == 2
        assert "git cannot read the repository" in outcome.err
        assert "why: fatal: bad config" in outcome.err

    def test_a_broken_repository(self, sh: Shell, repo: Path) -> None:
        blob = run(repo, "rev-parse", "HEAD:first")
        file = repo / ".git" / "objects" / blob[:2] / blob[2:]
        file.chmod(0o644)
        file.unlink()
        outcome = sh("create", "web", "--repo", str(repo))
        assert outcome.code == 2
        assert "git cannot bundle" in outcome.err
        assert blob in outcome.err
        assert sh.api.asked == []

    def test_too_large(self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundles, "LARGEST", 100)
        outcome = sh("create", "web", "--repo", str(repo))
        assert outcome.code == 2
        for part in ("too large", "100 B are allowed", "--repo"):
            assert part in outcome.err
        assert sh.api.asked == []

    def test_without_words(self) -> None:
        assert git.reason(subprocess.CompletedProcess([], 3, "", "")) == "git ended with 3."


class TestNotSent:
    def test_refused(self, sh: Shell, repo: Path) -> None:
        sh.api.on("PUT", BUNDLE, refusal(413, "payload_too_large", "The limit is 1 MiB.", limit=1))
        sh.api._planned["PUT", f"/api/v1{BUNDLE}"].pop(0)
        outcome = sh("create", "web", "--repo", str(repo))
        assert (outcome.code, outcome.out) == (1, "")
        for part in (
            "error: web waits for its repository",
            "why: The limit is 1 MiB.",
            f"`nexus send web {repo}`",
            "`nexus rm web --force`",
            f"workspace_id: {WS}",
            "limit: 1",
        ):
            assert part in outcome.err

    def test_the_connection_breaks(self, sh: Shell, repo: Path) -> None:
        sh.api._planned["PUT", f"/api/v1{BUNDLE}"] = [Said(hang_up=True)]
        outcome = sh("create", "web", "--repo", str(repo), "--json")
        assert outcome.code == 3
        assert '"repository_not_sent"' in outcome.err
        assert [one.method for one in sh.api.asked] == ["POST", "PUT", "PUT", "PUT"]
        assert len({one.body for one in sh.api.asked[1:]}) == 1

    def test_a_try_whose_answer_was_lost_has_sent_it(self, sh: Shell, repo: Path) -> None:
        done = refusal(409, "invalid_status_transition", "It has its repository already.")
        sh.api._planned["PUT", f"/api/v1{BUNDLE}"] = [Said(hang_up=True), done]
        assert sh("send", WS, str(repo), "--no-wait", "--json").json == workspace()
        outcome = sh("send", WS, str(repo))
        assert outcome.code == 6
        assert "It has its repository already." in outcome.err

    @pytest.mark.parametrize(("options", "told"), [([], True), (["--json"], False)])
    def test_interrupted(
        self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: bool
    ) -> None:
        def interrupt(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(bundles, "send", interrupt)
        outcome = sh("create", "web", "--repo", str(repo), *options)
        assert outcome.code == 130
        assert ("nexus send web" in outcome.err) is told

    def test_a_server_that_does_not_read_it_is_understood(self, tmp_path: Path) -> None:
        file = tmp_path / "large"
        file.write_bytes(b"\0" * 20_000_000)
        envelope = b'{"error": "payload_too_large", "message": "No.", "details": {}, "request_id": "r"}'
        with socket.create_server(("127.0.0.1", 0)) as sock:

            def answer() -> None:
                client, _ = sock.accept()
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 413 No\r\nConnection: close\r\n\r\n" + envelope)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1_000_000):  # as servers do that want their answer to arrive
                        pass

            thread = threading.Thread(target=answer)
            thread.start()
            api = Api(parse_url(f"http://127.0.0.1:{sock.getsockname()[1]}"), TOKEN, quiet=True)
            with pytest.raises(Refused) as caught:
                api.put("x", body=Upload(file, 20_000_000, lambda _: None))
            thread.join()
        assert caught.value.code == "payload_too_large"

    def test_a_server_that_hangs_up_after_its_answer(
        self, monkeypatch: pytest.MonkeyPatch, sh: Shell, repo: Path
    ) -> None:
        def broken(self: Upload) -> Iterator[bytes]:
            yield b"x" * self.size
            raise BrokenPipeError

        monkeypatch.setattr(Upload, "pieces", broken)
        assert sh("create", "web", "--repo", str(repo)).code == 0


class TestSend:
    def test_again(self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(repo)
        sh.api.on("POST", f"/workspaces/{WS}/start", Said(202, {"workspace_id": WS, "status": "starting"}))
        sh.api._planned["GET", f"/api/v1{POLL}"] = [Said(body=workspace(status="error")), Said(body=workspace())]
        assert sh("send", WS).out == "ssh -p 2222 dev@staging.example.com\n"
        assert [one.method for one in sh.api.asked] == ["PUT", "GET", "POST", "GET"]

    def test_while_it_waits(self, sh: Shell, repo: Path) -> None:
        outcome = sh("send", WS, str(repo), "--branch", "main", "--no-wait")
        assert outcome.out == f"{WS} has its repository.\n"
        assert sh("send", WS, str(repo), "--no-wait", "--json").json == {"workspace_id": WS, "status": "creating"}
        assert "POST" not in {one.method for one in sh.api.asked}

    def test_a_failure_names_the_command(self, sh: Shell) -> None:
        error = {"code": "bundle_missing", "message": "Nobody sent it.", "step": "clone_repository"}
        sh.api._planned["GET", f"/api/v1{POLL}"] = [Said(body=workspace(status="error", error=error))]
        outcome = sh("create", "web")
        assert "fix: `nexus send web FOLDER` sends it" in outcome.err


class TestProgress:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundles, "_WORTH_WATCHING", 1)

    def test_on_a_terminal(self, sh: Shell, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = io.StringIO()
        terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)

        def to_the_terminal(*, error: bool) -> Console:
            return terminal

        monkeypatch.setattr(bundles, "console", to_the_terminal)
        assert sh("create", "web", "--repo", str(repo)).code == 0
        for part in ("bundling the repository", "sending the repository", "bytes"):
            assert part in screen.getvalue()
        screen.truncate(0)
        assert sh("create", "web", "--repo", str(repo), "--json").code == 0
        assert screen.getvalue() == ""

    def test_elsewhere(self, sh: Shell, repo: Path) -> None:
        assert "sending " in sh("create", "web", "--repo", str(repo)).err
        assert sh("create", "web", "--repo", str(repo), "--json").err == ""


class TestUp:
    def test_services_and_notes(self, sh: Shell) -> None:
        db = service("db", url=None, status="unhealthy", error="It does not answer.\nagain")
        up = workspace(services={"web": service(), "db": db}, notes=["features are not used\x1b[2J"])
        sh.api._planned["GET", f"/api/v1{POLL}"] = [Said(body=up)]
        outcome = sh("create", "web")
        assert outcome.out == "ssh -p 2222 dev@staging.example.com\n"
        assert "http://localhost:23000" in outcome.err
        assert outcome.err.splitlines()[-3:] == [
            "db: It does not answer.",
            "  again",
            r"note: features are not used\x1b[2J",
        ]

    def test_a_set_up_that_fails(self, sh: Shell) -> None:
        error = {
            "code": "setup_failed",
            "message": "`npm ci` ended with 1:\nnpm ERR! one\nnpm ERR! two",
            "step": "run_setup",
        }
        failed = workspace(status="error", error=error, progress=[step("run_setup", "failed")])
        sh.api._planned["GET", f"/api/v1{POLL}"] = [Said(body=failed)]
        outcome = sh("create", "web")
        assert outcome.code == 1
        for part in ("run_setup failed", "npm ERR! one", "npm ERR! two", "`nexus logs web`", "`nexus start web`"):
            assert part in outcome.err
