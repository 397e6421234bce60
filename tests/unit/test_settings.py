"""What an administrator can set, where it comes from, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from nexus_core.domain.operation import StepName
from nexus_core.policy import Policy
from nexus_wiring.places import default_state_dir
from nexus_wiring.reference import defaults
from nexus_wiring.settings import InvalidSettings, Settings, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nexus.toml"


def test_the_defaults_are_the_cores() -> None:
    settings, warnings = load(None, {})
    assert settings == Settings()
    assert settings.policy() == Policy()
    assert warnings == []


def test_the_last_of_file_environment_and_options_wins(file: Path) -> None:
    file.write_text('ssh_ports = "1-2"\nlisten = "127.0.0.1:1"\nlog_level = "debug"\n')
    environ = {"NEXUS_LISTEN": "127.0.0.1:2", "NEXUS_LOG_LEVEL": "error"}
    settings, _ = load(file, environ, {"listen": "127.0.0.1:3", "state_dir": None})
    assert (settings.ssh_ports, settings.listen, settings.log_level) == ("1-2", "127.0.0.1:3", "error")


def test_variables_have_their_settings_type() -> None:
    environ = {
        "NEXUS_DEFAULT_CPU": "4",
        "NEXUS_STOP_GRACE": "2.5",
        "NEXUS_DEADLINES": '{"wait_for_ssh": 120}',
        "NEXUS_IMAGE_SERVERS": '{"mine": "https://images.example.com"}',
        "NEXUS_LXD_ENDPOINT": "/run/lxd.socket",
        "NEXUS_METRICS_OPEN": "true",
    }
    settings, warnings = load(None, environ)
    assert (settings.default_cpu, settings.stop_grace, settings.lxd_endpoint) == (4, 2.5, "/run/lxd.socket")
    assert settings.image_servers == {"mine": "https://images.example.com"}
    assert settings.metrics_open
    policy = settings.policy()
    assert (policy.deadlines[StepName.WAIT_FOR_SSH], policy.deadlines[StepName.CREATE_INSTANCE]) == (120, 900)
    assert warnings == []


def test_unknown_variables_are_warned_about() -> None:
    environ = {"NEXUS_SSH_PORT": "1", "NEXUS_TOKEN": "x", "NEXUS_URL": "y", "NEXUS_USER": "z", "HOME": "/"}
    _, warnings = load(None, environ)
    assert len(warnings) == 1
    assert "NEXUS_SSH_PORT" in warnings[0]


def test_an_unknown_key_is_an_error(file: Path) -> None:
    file.write_text("ssh_port = 2222\n")
    with pytest.raises(InvalidSettings, match="ssh_port") as caught:
        load(file, {})
    assert caught.value.why == "Did you mean `ssh_ports`?"
    file.write_text("[xyzzy]\n")
    with pytest.raises(InvalidSettings, match="xyzzy"):
        load(file, {})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen", "3001"),
        ("listen", "127.0.0.1:"),
        ("listen", "127.0.0.1:65536"),
        ("listen", "127.0.0.1:\u0661"),
        ("listen", 3001),
        ("ssh_ports", "2222"),
        ("ssh_ports", "9-8"),
        ("ssh_ports", "1-" + "9" * 5000),
        ("public_host", ""),
        ("public_host", "-oProxyCommand=x"),
        ("public_host", "a b"),
        ("default_cpu", 0),
        ("default_cpu", 100_000),
        ("default_memory", "4 bananas"),
        ("default_disk", "1KiB"),
        ("creations_at_once", 0),
        ("creations_at_once", 1.5),
        ("stop_grace", -1),
        ("stop_grace", float("nan")),
        ("retention_days", float("inf")),
        ("deadlines", {"make_coffee": 1}),
        ("deadlines", {"wait_for_ssh": 0}),
        ("log_level", "loud"),
        ("lxd_client_cert", "/cert.pem"),
        ("image_servers", ["x"]),
    ],
)
def test_values_that_do_not_fit(setting: str, value: Any) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(None, {}, {setting: value})
    assert caught.value.fix


@pytest.mark.parametrize(("name", "text"), [("DEFAULT_CPU", "two"), ("DEADLINES", "{"), ("DEADLINES", '{"a": "b"}')])
def test_variables_that_do_not_fit(name: str, text: str) -> None:
    with pytest.raises(InvalidSettings, match=f"NEXUS_{name}"):
        load(None, {f"NEXUS_{name}": text})


@pytest.mark.parametrize("content", [b"listen = ", b"\xff", b'listen = "a:1"\nlisten = "a:2"\n'])
def test_a_file_that_is_not_toml(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidSettings, match="not TOML"):
        load(file, {})


def test_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load(file, {})
    with pytest.raises(InvalidSettings, match="directory"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("listen", "address"),
    [("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert load(None, {}, {"listen": listen})[0].address == address


def test_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert Settings(state_dir="~/x").state_path == Path("/home/alice/x")
    assert Settings(state_dir="x").state_path == Path.cwd() / "x"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Settings().state_path == Path("/home/alice/.local/state/nexus")
    assert default_state_dir({"XDG_STATE_HOME": "/state"}) == Path("/state/nexus")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_dir({}) == Path("/var/lib/nexus")


def test_the_printed_defaults_are_the_defaults(file: Path) -> None:
    file.write_text(defaults())
    assert load(file, {})[0] == Settings()
    unset = {name: "1" for name, value in tomllib.loads(defaults().replace("# ", "")).items() if value == ""}
    assert set(unset) == {name for name in Settings.__struct_fields__ if getattr(Settings(), name) is None}
