"""The API client: what it sends, when it tries again, what it makes of strange answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_cli.api import Api
from nexus_cli.errors import Refused, ServerUnreachable, WrongUsage
from nexus_cli.wire import parse_url, send
from stub_api import TOKEN, Said, Shell, StubApi, page, refusal, shell, summary

AWAY = refusal(503, "provider_unavailable", "LXD does not answer.", retry_after=2)


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


@pytest.fixture
def stub(sh: Shell) -> StubApi:
    return sh.api


@pytest.fixture
def api(stub: StubApi) -> Api:
    return Api(parse_url(stub.url), TOKEN, quiet=True)


def test_the_token_is_sent(stub: StubApi, api: Api) -> None:
    stub.on("GET", "/status", {"fine": True})
    assert api.get("status") == {"fine": True}
    assert stub.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_parts_of_a_path_stay_parts(stub: StubApi, api: Api) -> None:
    with pytest.raises(Refused):
        api.get("users", "../status?x=1#y")
    assert stub.asked[0].path == "/api/v1/users/..%2Fstatus%3Fx%3D1%23y"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_idempotent_requests_wait_for_a_server_that_asks_for_time(stub: StubApi, api: Api, method: str) -> None:
    stub.on(method, "/x", AWAY, AWAY, {"done": True})
    assert api.request(method, "x") == {"done": True}
    assert len(stub.asked) == 3


def test_patience_has_an_end(stub: StubApi, api: Api) -> None:
    stub.on("GET", "/x", AWAY)
    with pytest.raises(Refused) as caught:
        api.get("x")
    assert (caught.value.status, caught.value.tries, len(stub.asked)) == (503, 3, 3)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(503, "no_ports_available", "Full.", retry_after=60),
        refusal(503, "unavailable", "No idea when."),
        Said(503, refusal(503, "unavailable", "Soon.").body, {"Retry-After": "soon"}),
    ],
)
def test_no_second_try_where_waiting_is_long_or_unknown(stub: StubApi, api: Api, answer: Said) -> None:
    stub.on("GET", "/x", answer)
    with pytest.raises(Refused):
        api.get("x")
    assert len(stub.asked) == 1


def test_a_post_is_not_repeated(stub: StubApi, api: Api) -> None:
    stub.on("POST", "/x", AWAY)
    with pytest.raises(Refused):
        api.post("x", body={})
    stub.on("POST", "/y", Said(hang_up=True))
    with pytest.raises(ServerUnreachable, match="broke"):
        api.post("y", body={})
    assert len(stub.asked) == 2


def test_a_post_with_a_key_is_repeated_under_the_same_key(stub: StubApi, api: Api) -> None:
    stub.on("POST", "/workspaces", Said(hang_up=True), AWAY, {"workspace_id": "ws"})
    assert api.post("workspaces", body={"a": "ü"}, key="k1") == {"workspace_id": "ws"}
    assert [(one.headers["idempotency-key"], one.body) for one in stub.asked] == [("k1", {"a": "ü"})] * 3


def test_a_connection_that_breaks_while_a_request_is_sent_is_lost(
    stub: StubApi, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("http.client.HTTPConnection.request", broken)
    with pytest.raises(ServerUnreachable) as caught:
        api.post("x", body={"a": 1})
    assert "Broken pipe" in caught.value.why


def test_a_deletion_whose_answer_was_lost_is_a_deletion(stub: StubApi, api: Api) -> None:
    gone = refusal(404, "workspace_not_found", "There is none.")
    stub.on("DELETE", "/workspaces/a", AWAY, gone)
    api.delete("workspaces", "a")
    stub.on("DELETE", "/workspaces/b", gone)
    with pytest.raises(Refused):
        api.delete("workspaces", "b")


def test_every_page_is_read(stub: StubApi, api: Api) -> None:
    stub.on("GET", "/workspaces", page(summary("a"), summary("b"), total=3), page(summary("c"), total=3))
    assert [one["name"] for one in api.workspaces(owner="alice")] == ["a", "b", "c"]
    assert [one.query["offset"] for one in stub.asked] == ["0", "2"]
    assert stub.asked[0].query["owner"] == "alice"


def test_a_list_that_shrinks_meanwhile_ends(stub: StubApi, api: Api) -> None:
    stub.on("GET", "/workspaces", page(summary("a"), total=9), page(total=9))
    assert len(list(api.workspaces())) == 1


@pytest.mark.parametrize("body", ["<html>hello</html>", {"message": "an error of another program"}, [1]])
@pytest.mark.parametrize("status", [404, 502])
def test_another_program_behind_the_url_is_no_nexus(stub: StubApi, api: Api, body: object, status: int) -> None:
    stub.on("GET", "/x", Said(status, body))
    with pytest.raises(ServerUnreachable, match="No Nexus server"):
        api.get("x")


def test_a_redirect_is_not_followed(stub: StubApi, api: Api) -> None:
    stub.on("GET", "/x", Said(302, None, {"Location": "http://elsewhere.example"}))
    with pytest.raises(ServerUnreachable):
        api.get("x")


def test_health_is_understood_also_at_503(stub: StubApi, api: Api) -> None:
    ill = {"status": "unavailable", "uptime_seconds": 1}
    stub.on("GET", "/health", Said(503, ill), {"status": "ok"}, Said(hang_up=True))
    assert api.health() == ill
    assert api.health() == {"status": "ok"}
    with pytest.raises(ServerUnreachable):
        api.health()


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ServerUnreachable, match=str(port)) as caught:
        Api(parse_url(f"http://127.0.0.1:{port}"), None).get("health")
    assert caught.value.why == "Connection refused."
    assert "nexus serve" in caught.value.fix


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ServerUnreachable) as caught:
        send(parse_url("http://nexus.invalid"), "GET", "/health", headers={})
    assert "resolved" in caught.value.why


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ServerUnreachable) as caught:
            send(parse_url(url), "GET", "/health", headers={}, connect_timeout=0.05)
    assert caught.value.why == "It did not answer in time."


def test_a_server_without_tls(stub: StubApi) -> None:
    with pytest.raises(ServerUnreachable):
        send(parse_url(stub.url.replace("http", "https")), "GET", "/health", headers={})


@pytest.mark.parametrize(
    ("url", "port", "prefix"),
    [
        ("http://h", 80, ""),
        ("https://h/", 443, ""),
        ("http://h:3001/api/v1/", 3001, ""),
        ("https://h/nexus/api/v1", 443, "/nexus"),
        ("http://[::1]:3001", 3001, ""),
    ],
)
def test_urls(url: str, port: int, prefix: str) -> None:
    server = parse_url(url)
    assert (server.port, server.prefix) == (port, prefix)


@pytest.mark.parametrize(
    "url",
    ["", "h:3001", "ftp://h", "http://", "http://u:p@h", "http://h?x", "http://h:99999", "http://h\n", "http://ü"],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(WrongUsage):
        parse_url(url)


def test_a_prefix_goes_before_the_path(stub: StubApi) -> None:
    send(parse_url(f"{stub.url}/nexus"), "GET", "/health", headers={})
    assert stub.asked[0].path == "/nexus/api/v1/health"


class TestToken:
    def test_of_the_state_directory(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NEXUS_TOKEN")
        sh.state.mkdir()
        (sh.state / "admin-token").write_text("nxs_file\n")
        sh.api.on("GET", "/workspaces", page())
        assert sh("ls").code == 0
        assert sh.api.asked[0].headers["authorization"] == "Bearer nxs_file"

    def test_of_the_default_state_directory(self, sh: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NEXUS_TOKEN")
        monkeypatch.delenv("NEXUS_STATE_DIR")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        (tmp_path / "nexus").mkdir()
        (tmp_path / "nexus" / "admin-token").write_text("nxs_default")
        sh.api.on("GET", "/workspaces", page())
        assert sh("ls").code == 0
        assert sh.api.asked[0].headers["authorization"] == "Bearer nxs_default"

    def test_is_missing(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NEXUS_TOKEN")
        outcome = sh("ls")
        assert outcome.code == 4
        assert "NEXUS_TOKEN" in outcome.err
        assert "admin-token" in outcome.err

    @pytest.mark.parametrize("token", ["two words", "line\nline", "tökén"])
    def test_is_none(self, sh: Shell, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
        monkeypatch.setenv("NEXUS_TOKEN", token)
        outcome = sh("ls")
        assert outcome.code == 4
        assert token not in outcome.err
        assert sh.api.asked == []

    def test_is_not_asked_for_by_health(self, sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NEXUS_TOKEN")
        sh.api.on("GET", "/health", {"status": "ok", "nodes": {}, "version": "1", "uptime_seconds": 1})
        assert sh("health").code == 0
        assert "authorization" not in sh.api.asked[0].headers


def test_waiting_is_told_except_in_json(sh: Shell) -> None:
    sh.api.on("GET", "/workspaces", AWAY, page(), AWAY, page())
    assert "trying again in 2 s" in sh("ls").err
    assert sh("ls", "--json").err == ""
