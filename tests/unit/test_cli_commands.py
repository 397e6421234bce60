"""Each client command: what it asks for, and what it shows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_cli.errors import WrongUsage
from nexus_cli.tokens import moment
from nexus_cli.words import age, duration, size, span
from stub_api import HOST_KEY, WS, Said, Shell, page, refusal, service, shell, summary, workspace

USER = {
    "user_id": "user-4t9x0c2m7k1b",
    "github_username": "alice",
    "github_id": 123456789,
    "email": None,
    "ssh_pubkey_fingerprint": "SHA256:abc",
    "registered_at": "2026-01-17T10:30:00Z",
    "updated_at": "2026-01-17T10:30:00Z",
    "workspaces": [],
}
TOKEN_RECORD = {
    "token_id": "tok-000000000001",
    "label": "laptop",
    "scopes": ["read", "write"],
    "created_at": "2026-01-17T10:30:00Z",
    "expires_at": None,
    "last_used_at": None,
}
REPOSITORY = {
    "owner": None,
    "name": None,
    "branch": "main",
    "commit": "abc123def4567890",
    "url": "git@x:y",
    "is_fork": False,
}
HEALTH = {
    "status": "ok",
    "timestamp": "2026-01-17T10:30:00Z",
    "uptime_seconds": 5400,
    "nodes": {
        "staging-1": {
            "status": "healthy",
            "provider": "lxc",
            "last_heartbeat": "2026-01-17T10:29:55Z",
            "workspaces": 5,
        }
    },
    "version": "1.0.0",
}
STATUS = {
    **HEALTH,
    "database": {"schema_version": 1, "size_bytes": 131072},
    "ports": {"ssh": {"first": 2222, "last": 2299, "used": 5, "free": 73}},
    "workspaces": {"running": 5},
    "operations": {"queued": 0, "running": 1},
    "providers": {"lxc": {"available": True, "version": "5.21", "error": None}},
}


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "id.pub"
    file.write_text(f"{HOST_KEY} alice@laptop\n")
    return str(file)


class TestLs:
    def test_a_table(self, sh: Shell) -> None:
        other = summary("a-longer-name", "ws-000000000002", status="error", ssh_port=None)
        sh.api.on("GET", "/workspaces", page(summary(), other))
        outcome = sh("ls", "--owner", "alice", "--status", "running")
        assert outcome.code == 0
        header, first, second = outcome.out.splitlines()
        assert header.split() == ["NAME", "OWNER", "STATUS", "SSH", "AGE", "ID"]
        assert first.split()[:4] == ["web", "alice", "running", "2222"]
        assert second.split()[2:4] == ["error", "-"]
        assert header.index("OWNER") == first.index("alice") == second.index("alice")
        assert sh.api.asked[0].query == {"owner": "alice", "status": "running"}

    def test_nothing_there(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page())
        outcome = sh("ls")
        assert (outcome.code, outcome.out) == (0, "")
        assert "nexus create" in outcome.err

    def test_more_than_a_page(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary(), total=2), page(summary(), total=2), page(summary("b"), total=2))
        assert "1 of 2 are shown" in sh("ls").err
        outcome = sh("ls", "--all", "--json")
        assert [one["name"] for one in outcome.json["workspaces"]] == ["web", "b"]
        assert outcome.json["total"] == 2

    def test_json_is_the_apis_own(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary()))
        assert sh("ls", "--json").json == page(summary())

    def test_names_are_aligned_by_width(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("日本"), summary("x")))
        _, wide, narrow = sh("ls").out.splitlines()
        assert wide.index("alice") + 2 == narrow.index("alice")


class TestNames:
    def test_an_id_is_asked_for_directly(self, sh: Shell) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        assert sh("show", WS, "--json").json == workspace()
        assert len(sh.api.asked) == 1

    def test_a_name_is_looked_up(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("other", "ws-000000000002"), summary()))
        sh.api.on("GET", f"/workspaces/{WS}", workspace())
        assert sh("show", "web", "--owner", "alice").code == 0
        assert sh.api.asked[0].query["owner"] == "alice"

    def test_none(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page())
        outcome = sh("stop", "web", "--user", "alice")
        assert outcome.code == 5
        assert "No workspace of alice's is named 'web'" in outcome.err

    def test_two(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary(), summary("web", "ws-000000000002", owner="bob")))
        outcome = sh("rm", "web")
        assert outcome.code == 2
        for part in (WS, "ws-000000000002", "bob", "--owner"):
            assert part in outcome.err
        assert len(sh.api.asked) == 1

    def test_an_id_that_is_a_path(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("web", "../../etc")))
        assert sh("rm", "web").code == 3
        assert len(sh.api.asked) == 1


class TestShow:
    def test_what_matters(self, sh: Shell) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", workspace(notes=["it is well"]))
        out = sh("show", WS).out
        for part in ("ssh -p 2222 dev@staging.example.com", "SHA256:abc", "create_instance", "4.2 s", "it is well"):
            assert part in out
        for part in ("run_setup", "stopped", "repository", "SERVICE", "failed"):
            assert part not in out

    def test_services_repository_and_queue(self, sh: Shell) -> None:
        api = service("api", status="unhealthy", health="timeout", error="It does not answer.\nsecond\x1b[2J")
        worker = service("worker", port=None, mapped_port=None, url=None, health="unknown", last_check=None)
        full = workspace(
            status="pending", queue_position=3, services={"api": api, "worker": worker}, repository=REPOSITORY
        )
        sh.api.on("GET", f"/workspaces/{WS}", full)
        out = sh("show", WS).out
        for part in (
            "place 3 in the queue",
            "http://localhost:23000",
            "unhealthy",
            "worker",
            "git@x:y (main, abc123def456)",
        ):
            assert part in out
        assert "\napi: It does not answer.\n  second\\x1b[2J\n" in out

    def test_a_repository_that_was_sent(self, sh: Shell) -> None:
        sent = {**dict.fromkeys(REPOSITORY), "is_fork": False}
        named = {**sent, "name": "my-project"}
        sh.api.on("GET", f"/workspaces/{WS}", workspace(repository=sent), workspace(repository=named))
        assert re.search(r"^repository +sent from a folder$", sh("show", WS).out, re.MULTILINE)
        assert re.search(r"^repository +my-project$", sh("show", WS).out, re.MULTILINE)

    def test_an_error(self, sh: Shell) -> None:
        error = {"code": "ssh_not_ready", "message": "It failed.\nlast line\x1b[31m", "step": "wait_for_ssh"}
        sh.api.on("GET", f"/workspaces/{WS}", workspace(status="error", ssh=None, error=error, progress=[]))
        out = sh("show", WS).out
        assert "failed in wait_for_ssh: ssh_not_ready" in out
        assert r"last line\x1b[31m" in out

    def test_refused(self, sh: Shell) -> None:
        sh.api.on("GET", f"/workspaces/{WS}", refusal(404, "workspace_not_found", "There is none. Look for it."))
        outcome = sh("show", WS)
        assert outcome.code == 5
        assert outcome.err.splitlines() == [
            "error: There is none. Look for it.",
            "  (workspace_not_found, request req-5d0c4be2a1f7)",
        ]
        outcome = sh("show", WS, "--json")
        assert '"request_id": "req-5d0c4be2a1f7"' in outcome.err
        assert outcome.out == ""


class TestStop:
    def test_stop(self, sh: Shell) -> None:
        answer = {"workspace_id": WS, "status": "stopped", "stopped_at": "2026-01-17T10:30:00Z"}
        sh.api.on("POST", f"/workspaces/{WS}/stop", answer)
        assert sh("stop", WS).out == f"{WS} is stopped.\n"
        assert sh("stop", WS, "--force", "--json").json == answer
        assert [one.body for one in sh.api.asked] == [{"force": False}, {"force": True}]

    @pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 4), (403, 4), (409, 6), (429, 7), (500, 1), (503, 7)])
    def test_exit_codes(self, sh: Shell, status: int, code: int) -> None:
        sh.api.on("POST", f"/workspaces/{WS}/stop", refusal(status, "some_error", "No.", why="because", list=[1]))
        outcome = sh("stop", WS)
        assert outcome.code == code
        assert "why: because" in outcome.err
        assert "list: [1]" in outcome.err


class TestRm:
    def test_rm(self, sh: Shell) -> None:
        known = sh.state / "ssh" / WS
        known.parent.mkdir(parents=True)
        known.write_text("key")
        sh.api.on("DELETE", f"/workspaces/{WS}", Said(204))
        assert sh("rm", WS).out == f"{WS} is deleted.\n"
        assert not known.exists()
        assert sh("rm", WS, "--force", "--json").out == ""
        assert [one.query for one in sh.api.asked] == [{}, {"force": "true"}]


class TestRegister:
    def test_register(self, sh: Shell, key: str) -> None:
        sh.api.on("POST", "/users/register-github", Said(201, USER))
        outcome = sh("register", "alice", "--github-id", "123456789", "--key", key, "--email", "alice@example.com")
        assert outcome.out == "alice is registered with key SHA256:abc.\n"
        assert sh.api.asked[0].body == {
            "github_username": "alice",
            "github_id": 123456789,
            "ssh_pubkey": f"{HOST_KEY} alice@laptop",
            "email": "alice@example.com",
        }
        assert sh("register", "alice", "--github-id", "1", "--key", key, "--json").json == USER

    def test_the_number_is_asked_for(self, sh: Shell, key: str) -> None:
        outcome = sh("register", "alice", "--key", key)
        assert outcome.code == 2
        assert "https://api.github.com/users/alice" in outcome.err
        assert "--github-id" in outcome.err

    def test_a_key_from_standard_input(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(HOST_KEY))
        sh.api.on("POST", "/users/register-github", Said(201, USER))
        assert sh("register", "alice", "--github-id", "1", "--key", "-").code == 0
        assert sh.api.asked[0].body["ssh_pubkey"] == HOST_KEY

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", ".pub."),
            (b"\xff\xfe\x00", "not a text file"),
            (b"x" * 20_000, "too long"),
            (None, "No such file"),
        ],
    )
    def test_other_files_are_not_sent(self, sh: Shell, tmp_path: Path, content: bytes | None, said: str) -> None:
        file = tmp_path / "key"
        if content is not None:
            file.write_bytes(content)
        outcome = sh("register", "alice", "--github-id", "1", "--key", str(file))
        assert outcome.code == 2
        assert said in outcome.err
        assert sh.api.asked == []


class TestRotateKey:
    def test_rotate(self, sh: Shell, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        sh.api.on("PUT", "/users/alice/ssh-key", USER)
        assert "open with key SHA256:abc now" in sh("rotate-key", key, "--user", "alice").out
        monkeypatch.setenv("NEXUS_USER", "alice")
        assert sh("rotate-key", key, "--json").json == USER
        assert sh.api.asked[0].body == {"ssh_pubkey": f"{HOST_KEY} alice@laptop"}

    def test_whose(self, sh: Shell, key: str) -> None:
        outcome = sh("rotate-key", key)
        assert outcome.code == 2
        assert "--user" in outcome.err


class TestToken:
    def test_new(self, sh: Shell) -> None:
        issued = {**TOKEN_RECORD, "token": "nxs_secret"}
        sh.api.on("POST", "/users/alice/tokens", Said(201, issued))
        outcome = sh("token", "new", "laptop", "--user", "alice")
        assert outcome.out == "nxs_secret\n"
        assert "NEXUS_TOKEN" in outcome.err
        arguments = ("--user", "alice", "--expires", "2030-01-31", "--scope", "read", "--json")
        assert sh("token", "new", "laptop", *arguments).json == issued
        assert [one.body for one in sh.api.asked] == [
            {"label": "laptop"},
            {"label": "laptop", "expires_at": "2030-01-31T23:59:59Z", "scopes": ["read"]},
        ]

    def test_both_scopes(self, sh: Shell) -> None:
        sh.api.on("POST", "/users/alice/tokens", Said(201, {**TOKEN_RECORD, "token": "nxs_secret"}))
        assert sh("token", "new", "x", "--user", "alice", "--scope", "read", "--scope", "write").code == 0
        assert sh.api.asked[0].body["scopes"] == ["read", "write"]
        assert sh("token", "new", "x", "--user", "alice", "--scope", "admin").code == 2

    def test_ls(self, sh: Shell) -> None:
        used = {**TOKEN_RECORD, "last_used_at": "2026-01-17T10:30:00Z", "expires_at": "2030-01-31T00:00:00Z"}
        sh.api.on("GET", "/users/alice/tokens", {"tokens": [TOKEN_RECORD, used]}, {"tokens": []}, {"tokens": []})
        first, second = sh("token", "ls", "--user", "alice").out.splitlines()[1:]
        assert first.split()[0] == "tok-000000000001"
        assert first.endswith("never")
        assert "2030-01-31" in second
        outcome = sh("token", "ls", "--user", "alice")
        assert outcome.out == ""
        assert "nexus token new" in outcome.err
        assert sh("token", "ls", "--user", "alice", "--json").json == {"tokens": []}

    def test_rm(self, sh: Shell) -> None:
        sh.api.on("DELETE", "/users/alice/tokens/tok-1", Said(204))
        assert sh("token", "rm", "tok-1", "--user", "alice").out == "tok-1 is valid no more.\n"
        assert sh("token", "rm", "tok-1", "--user", "alice", "--json").out == ""


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("12h", "2026-01-17T22:30:00Z"),
        ("30d", "2026-02-16T10:30:00Z"),
        ("1w", "2026-01-24T10:30:00Z"),
        ("2030-01-31", "2030-01-31T23:59:59Z"),
        ("2030-01-31T12:00:00", "2030-01-31T12:00:00Z"),
        ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
    ],
)
def test_moments(text: str, then: str) -> None:
    assert moment(text, datetime(2026, 1, 17, 10, 30, tzinfo=UTC)) == then


@pytest.mark.parametrize(
    "text", ["", "soon", "d", "-1d", "²d", "99999999999d", "2030-13-01", "0001-01-01T00:00:00+05:00"]
)
def test_no_moments(text: str) -> None:
    with pytest.raises(WrongUsage):
        moment(text, datetime(2026, 1, 17, 10, 30, tzinfo=UTC))


class TestServer:
    def test_health(self, sh: Shell) -> None:
        never = {"staging-2": {"status": "away", "provider": "lxc", "last_heartbeat": None, "workspaces": 0}}
        ill = {**HEALTH, "status": "unavailable", "nodes": never}
        sh.api.on("GET", "/health", HEALTH, Said(503, ill), Said(503, ill))
        outcome = sh("health")
        assert outcome.code == 0
        for part in ("ok", "1 h", "staging-1", "5 workspaces"):
            assert part in outcome.out
        outcome = sh("health")
        assert outcome.code == 7
        assert "never heard of" in outcome.out
        outcome = sh("health", "--json")
        assert (outcome.code, outcome.json) == (7, ill)

    def test_status(self, sh: Shell) -> None:
        away = {"lxc": {"available": False, "version": None, "error": "no socket"}}
        sh.api.on("GET", "/status", STATUS, {**STATUS, "providers": away, "workspaces": {}}, STATUS)
        out = sh("status").out
        for part in ("2222-2299: 5 used, 73 free", "128.0 KiB", "5 running", "version 5.21"):
            assert part in out
        assert "away: no socket" in sh("status").out
        assert sh("status", "--json").json == STATUS


class TestWords:
    def test_ages(self) -> None:
        now = datetime(2026, 1, 17, 10, 30, tzinfo=UTC)
        assert age("2026-01-17T10:29:19Z", now) == "41 s"
        assert age("2026-01-17T10:31:00Z", now) == "0 s"
        assert age(None) == "-"
        assert age("yesterday") == "yesterday"
        assert age("2026-01-17T10:29:19", now) == "2026-01-17T10:29:19"

    @pytest.mark.parametrize(("seconds", "said"), [(59, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")])
    def test_spans(self, seconds: float, said: str) -> None:
        assert span(seconds) == said

    @pytest.mark.parametrize(
        ("milliseconds", "said"), [(None, ""), (0, "0 ms"), (999, "999 ms"), (4210, "4.2 s"), (80_000, "1 min 20 s")]
    )
    def test_durations(self, milliseconds: float | None, said: str) -> None:
        assert duration(milliseconds) == said

    @pytest.mark.parametrize(("count", "said"), [(980, "980 B"), (13_000_000, "12.4 MiB"), (2**45, "32.0 TiB")])
    def test_sizes(self, count: float, said: str) -> None:
        assert size(count) == said
