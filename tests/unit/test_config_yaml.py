"""The file .nexus/config.yaml: what is understood, and what is said of everything else."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_config import RepositoryFiles
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.service import CheckType, HealthCheck, ServiceSpec
from nexus_core.errors import InvalidConfig

FILE = ".nexus/config.yaml"
CHECK = "services.a.health_check"
TCP = HealthCheck(CheckType.TCP)
HTTP = HealthCheck(CheckType.HTTP)

WHOLE = """\
version: "1.0"
name: my-project
description: "..."
provider: lxc
services:
  api:
    command: |
      npm ci
      npm start
    port: "3001"
    environment: [A=yes, B=1.10, "C=a=b"]
  web:
    command: "npm run dev"
    port: 3000
    env: {NODE_ENV: development, YES: yes, ONE: 1.10, ON: on, EMPTY: "", DAY: 2024-01-02, TIME: 12:30:45, FLAG: True}
    depends_on: [api]
    health_check: {type: http, path: /, timeout: 10s}
    expose: false
providers:
  default: lxc
  lxc: {image: "ubuntu:22.04", cpu: 2, memory: "4GB", disk: "20GB"}
  docker: {image: node:20-alpine, anything: [1, {a: b}]}
lifecycle:
  pre_start: |
    #!/bin/bash
    npm install
  post_start: [echo up, echo running]
  pre_stop: echo down
setup: [npm ci]
"""


def understood(text: str, provider: str = "lxc", file: str = FILE) -> ProjectConfig:
    config = RepositoryFiles(provider).understand({file: text})
    assert config is not None
    return config


def refused(text: str) -> InvalidConfig:
    with pytest.raises(InvalidConfig) as refusal:
        RepositoryFiles().understand({FILE: text})
    return refusal.value


def service(keys: str) -> ServiceSpec:
    """The one service of a file that says no more."""
    (only,) = understood(f"services: {{it: {{command: run, {keys}}}}}").services
    return only


def test_everything_there_is() -> None:
    assert understood(WHOLE) == ProjectConfig(
        FILE,
        services=(
            ServiceSpec(
                "api",
                "npm ci\nnpm start\n",
                3001,
                env={"A": "yes", "B": "1.10", "C": "a=b"},
                health_check=TCP,
                expose=True,
            ),
            ServiceSpec(
                "web",
                "npm run dev",
                3000,
                ("api",),
                {
                    "NODE_ENV": "development",
                    "YES": "yes",
                    "ONE": "1.10",
                    "ON": "on",
                    "EMPTY": "",
                    "DAY": "2024-01-02",
                    "TIME": "12:30:45",
                    "FLAG": "True",
                },
                HealthCheck(CheckType.HTTP, timeout=10.0),
            ),
        ),
        setup=("npm ci",),
        pre_start=("#!/bin/bash\nnpm install\n",),
        post_start=("echo up", "echo running"),
        pre_stop=("echo down",),
        cpu=2,
        memory="4GB",
        disk="20GB",
        image="ubuntu:22.04",
        notes=(f"{FILE}: providers.docker is not used here; this workspace runs on lxc.",),
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "~", "null", "\ufeff", "{}", "services:\nsetup:\nlifecycle:\nproviders:\n"]
)
def test_a_file_may_say_nothing(text: str) -> None:
    assert understood(text) == ProjectConfig(FILE)


@pytest.mark.parametrize("version", ["1", "1.0", "'1'", '"1.0"', "", "!!str 1"])
def test_versions(version: str) -> None:
    assert understood(f"version: {version}") == ProjectConfig(FILE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services: {}", {}),
        ("services: []", {}),
        ("name: 12\ndescription: yes", {}),
        (
            "services: [{name: a, command: x}, {name: b, command: y, depends_on: a}]",
            {"services": (ServiceSpec("a", "x"), ServiceSpec("b", "y", depends_on=("a",)))},
        ),
        ("setup: npm ci", {"setup": ("npm ci",)}),
        ("lifecycle: {pre_start: [a, b]}", {"pre_start": ("a", "b")}),
        ("providers: {lxc: {cpu: '4'}}", {"cpu": 4}),
        ("providers: {lxc: {image: 22.04, memory: 512MiB}}", {"image": "22.04", "memory": "512MiB"}),
        ("provider: docker", {"notes": (f"{FILE}: provider is docker; this workspace runs on lxc.",)}),
        (
            "providers: {default: docker, k8s: , docker: 1}",
            {
                "notes": (
                    f"{FILE}: providers.default is docker; this workspace runs on lxc.",
                    f"{FILE}: providers.k8s, providers.docker is not used here; this workspace runs on lxc.",
                )
            },
        ),
        (
            "services:\n  a: &a {command: x, env: &e {K: v}}\n  b: {<<: *a, command: y}\n  c: {command: z, env: *e}",
            {
                "services": (
                    ServiceSpec("a", "x", env={"K": "v"}),
                    ServiceSpec("b", "y", env={"K": "v"}),
                    ServiceSpec("c", "z", env={"K": "v"}),
                )
            },
        ),
        (
            "services:\n  a: {<<: [{command: first}, {command: second, port: 1}]}",
            {"services": (ServiceSpec("a", "first", 1, health_check=TCP, expose=True),)},
        ),
    ],
)
def test_ways_of_writing(text: str, expected: dict[str, Any]) -> None:
    assert understood(text) == ProjectConfig(FILE, **expected)


def test_another_provider_has_its_own_section() -> None:
    config = understood("providers: {incus: {cpu: 3}, lxc: {cpu: 2}}", provider="incus")

    assert config.cpu == 3
    assert config.notes == (f"{FILE}: providers.lxc is not used here; this workspace runs on incus.",)


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        ("port: 80", TCP),
        ("expose: no", HealthCheck()),
        ("port: 80, health_check: ", TCP),
        ("port: 80, health_check: null", TCP),
        ("port: 80, health_check: false", HealthCheck()),
        ("port: 80, health_check: none", HealthCheck()),
        ("port: 80, health_check: tcp", TCP),
        ("port: 80, health_check: http", HTTP),
        ("port: 80, health_check: HTTP", HTTP),
        ("port: 80, health_check: /up?x=1", HealthCheck(CheckType.HTTP, path="/up?x=1")),
        ("port: 80, health_check: 'http://localhost:80/up'", HealthCheck(CheckType.HTTP, path="/up")),
        ("port: 80, health_check: 'http://127.0.0.1/up?q=1'", HealthCheck(CheckType.HTTP, path="/up?q=1")),
        ("port: 80, health_check: 'http://[::1]:80'", HTTP),
        ("port: 80, health_check: 'tcp://localhost:80'", TCP),
        ("port: 80, health_check: 'localhost:80'", TCP),
        ("port: 80, health_check: ':80'", TCP),
        ("health_check: 'curl -f http://db:1/'", HealthCheck(CheckType.EXEC, command="curl -f http://db:1/")),
        ("health_check: /usr/bin/test -e x", HealthCheck(CheckType.EXEC, command="/usr/bin/test -e x")),
        ("port: 80, health_check: {path: /a}", HealthCheck(CheckType.HTTP, path="/a")),
        ("port: 80, health_check: {expected_status: 204}", HealthCheck(CheckType.HTTP, expected_status=204)),
        ("port: 80, health_check: {interval: 1m30s}", HealthCheck(CheckType.TCP, interval=90.0)),
        ("health_check: {command: ok}", HealthCheck(CheckType.EXEC, command="ok")),
        ("health_check: {type: custom, command: ok}", HealthCheck(CheckType.CUSTOM, command="ok")),
        ("health_check: {type: none}", HealthCheck()),
        ("health_check: {}", HealthCheck()),
        (
            "port: 80, health_check: {type: tcp, path: , interval: .5, timeout: 500ms, retries: '3', start_period: 1h}",
            HealthCheck(CheckType.TCP, interval=0.5, timeout=0.5, retries=3, start_period=3600.0),
        ),
        ("port: 80, health_check: {interval: '10', timeout: 2}", HealthCheck(CheckType.TCP, interval=10.0, timeout=2)),
        ("port: 80, health_check: {interval: 1m5s250ms}", HealthCheck(CheckType.TCP, interval=65.25)),
    ],
)
def test_health_checks(keys: str, check: HealthCheck) -> None:
    assert service(keys).health_check == check


@pytest.mark.parametrize(
    ("keys", "exposed"),
    [("port: 1", True), ("port: 1, expose: false", False), ("port: 1, expose: off", False), ("expose: No", None),
     ("port: 1, expose: 'true'", True), ("port: 1, expose: ", True), ("env: {A: b}", False)],
)  # fmt: skip  # one case a line is longer than it is clear
def test_exposure(keys: str, exposed: bool | None) -> None:
    if exposed is None:
        assert "must be true or false, is 'No'" in refused(f"services: {{it: {{command: run, {keys}}}}}").why
    else:
        assert service(keys).expose is exposed


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        # The form of the file
        ("- a", 1, "", "must be a mapping, is a list"),
        ("hello", 1, "", "must be a mapping, is 'hello'"),
        ("name: a\nname: b", 2, "name", "is there twice; the first is on line 1"),
        ("1: a", 1, "1", "a key must be text; put it in quotes"),
        ("? [a]\n: b", 1, "?", "a key must be text"),
        ("name: a\n---\nname: b", 2, "", "begins a second document; there must be only one"),
        ("name: a\n\tb: c", 2, "", "is not YAML at column"),
        ("services:\n\tweb: 1", 2, "", "; indent with spaces, not tabs"),
        ("name: [a", 1, "", "is not YAML at column"),
        ("name: a: b", 1, "", "is not YAML at column 8: mapping values are not allowed"),
        ("name: @a", 1, "", "is not YAML at column 7"),
        ("\nname: a\0b", 2, "", "has the character U+0000, which YAML does not allow"),
        ('name: "a\\0b"', 1, "name", "must be text without NUL"),
        ("name: !!python/object:os.system x", 1, "name", "has the tag !!python/object:os.system; only plain values"),
        ("services: !ruby {}", 1, "services", "has the tag !ruby"),
        ("setup: !!set [a]", 1, "setup", "has the tag !!set"),
        ("name: &a [*a]", 1, "", "the alias *a stands for nothing"),
        ("<<: 1", 1, "", "<< takes a mapping or a list of mappings"),
        ("%YAML 3.0\n---\n", 1, "", "is not YAML"),
        # The top
        ("version: 2", 1, "version", "must be 1.0, is the whole number 2; this server understands no other"),
        ("name: [a]", 1, "name", "must be text, is a list"),
        ("provider: 1", 1, "provider", "must be text, is the whole number 1; put it in quotes"),
        ("nmae: a", 1, "nmae", "unknown key; did you mean name?"),
        ("xyzzy: a", 1, "xyzzy", "unknown key; there are version, name"),
        ("\nhooks: {}", 2, "hooks", "unknown key; write lifecycle"),
        ("docker: {}", 1, "docker", "unknown key; write providers, with the name below it"),
        ("image: a", 1, "image", "unknown key; write it below providers.lxc"),
        ("services: web", 1, "services", "must be a mapping of names to services, is 'web'"),
        ("setup: {a: b}", 1, "setup", "must be a script or a list of them, is a mapping"),
        ("setup: [npm ci, ' ']", 1, "setup[1]", "must not be empty"),
        ("setup:\n- a\n- [b]", 3, "setup[1]", "must be shell text, is a list"),
        ("lifecycle: {preStart: a}", 1, "lifecycle.preStart", "unknown key; did you mean pre_start?"),
        ("lifecycle: {post_stop: a}", 1, "lifecycle.post_stop", "unknown key; write pre_stop"),
        ("lifecycle: a", 1, "lifecycle", "must be a mapping, is 'a'"),
        ("providers: {lxc: {cpu: 0}}", 1, "providers.lxc.cpu", "must be a whole number between 1 and 512, is"),
        ("providers: {lxc: {cpu: 1.5}}", 1, "providers.lxc.cpu", "is the number 1.5"),
        ("providers: {lxc: {cpus: 1}}", 1, "providers.lxc.cpus", "unknown key; write cpu"),
        ("providers: {lxc: {memory: 4g}}", 1, "providers.lxc.memory", "is '4g'; did you mean 4GB?"),
        ("providers: {lxc: {memory: 4096}}", 1, "providers.lxc.memory", "must be a size such as 4GB or 4GiB"),
        ("providers: {lxc: {disk: 1KB}}", 1, "providers.lxc.disk", "must be between 64MiB and 1024TiB, is '1KB'"),
        ("providers: {lxc: [a]}", 1, "providers.lxc", "must be a mapping, is a list"),
        # Services
        ("services:\n  a:\n", 2, "services.a", "must be a mapping, is empty"),
        ("services:\n  a: {}", 2, "services.a", "command is missing"),
        ("services:\n  a: {command: }", 2, "services.a", "command is missing"),
        ("services: {a: npm start}", 1, "services.a", "must be a mapping, is 'npm start'"),
        ("services: {a b: {command: x}}", 1, "services.a b", "must be 1-63 of letters, digits"),
        ("services: [{command: x}]", 1, "services[0]", "name is missing"),
        ("services: {a: {command: x, name: a}}", 1, "services.a.name", "a service's name is the key before it"),
        ("services: {a: {command: [x, y]}}", 1, "services.a.command", "must be shell text, is a list; write it as one"),
        ("services: {a: {command: true}}", 1, "services.a.command", "is the boolean true; put it in quotes"),
        ("services: [{name: a, command: x}, {name: a, command: y}]", 1, "services[1].name", "another service named a"),
        ("services:\n  web:\n    command: x\n    prot: 1", 4, "services.web.prot", "unknown key; did you mean port?"),
        ("services: {a: {command: x, ports: ['1:1']}}", 1, "services.a.ports", "unknown key; write port, one number"),
        ("services: {a: {command: x, image: b}}", 1, "services.a.image", "not containers"),
        ("services: {a: {command: x, working_dir: b}}", 1, "services.a.working_dir", "begin the command with `cd DIR"),
        ("services: {a: {command: x, healthcheck: b}}", 1, "services.a.healthcheck", "unknown key; write health_check"),
        *(
            (f"services: {{a: {{command: x, port: {port}}}}}", 1, "services.a.port", "must be a whole number between 1")
            for port in ("abc", "0", "65536", "-1", "3000.5", "true", "[1]", "'08'", "1_000", "1" + "0" * 5000, "٣")
        ),
        ("services: {a: {command: x, expose: true}}", 1, "services.a.expose", "needs a port"),
        ("services: {a: {command: x, expose: 1}}", 1, "services.a.expose", "must be true or false, is the whole"),
        # Variables
        ("services: {a: {command: x, env: {A: }}}", 1, "services.a.env.A", 'has no value; write "" for an empty one'),
        ("services: {a: {command: x, env: {A: [b]}}}", 1, "services.a.env.A", "must be a single value, is a list"),
        ("services: {a: {command: x, env: {A-B: c}}}", 1, "services.a.env.A-B", "must be letters, digits and _"),
        ("services: {a: {command: x, env: [A]}}", 1, "services.a.env[0]", "must be NAME=value"),
        ("services: {a: {command: x, env: [A=1, A=2]}}", 1, "services.a.env[1]", "A is there twice"),
        ("services: {a: {command: x, env: [A: 1]}}", 1, "services.a.env[0]", "must be NAME=value, is a mapping"),
        ("services: {a: {command: x, env: A=1}}", 1, "services.a.env", "must be a mapping of names to values"),
        ("services: {a: {command: x, env: {}, environment: {}}}", 1, "services.a.environment", "there is env too"),
        # Dependencies
        ("services: {a: {command: x, depends_on: {b: {}}}}", 1, "services.a.depends_on", "or a list of them, is a"),
        ("services: {a: {command: x}, b: {command: x, depends_on: [a, a]}}", 1, "services.b.depends_on[1]", "twice"),
        ("services:\n  web: {command: x}\n  b:\n    command: x\n    depends_on: wbe", 5, "services.b.depends_on",
         "wbe is not among the services; did you mean web?"),
        ("services:\n  a: {command: x, depends_on: a}", 2, "services.a.depends_on", "in a circle: a -> a"),
        ("services:\n  b: {command: x, depends_on: c}\n  c: {command: x, depends_on: b}", 2, "services.b.depends_on",
         "services depend on each other in a circle: b -> c -> b"),
        ("services:\n  a: {command: x, port: 1}\n  b: {command: x, port: 1}", 3, "services.b.port", "that of a"),
        # Health checks
        *(
            (f"services: {{a: {{command: x, port: 80, health_check: {check}}}}}", 1, f"{CHECK}{key}", said)
            for check, key, said in (
                ("5", "", "must be a mapping, or text such as tcp"),
                ("true", "", "is the boolean true"),
                ("[a]", "", "is a list"),
                ("''", "", "must not be empty"),
                ("exec", "", "needs a command"),
                ("'http://localhost:81/'", "", "looks at port 81, and the service has 80"),
                ("':81'", "", "looks at port 81, and the service has 80"),
                ("'https://localhost/'", "", "must be http://; checks are plain http"),
                ("'ftp://localhost/'", "", "must be an address with http:// or tcp://, has ftp://"),
                ("'http://db/'", "", "must have the host localhost"),
                ("'db:80'", "", "must have the host localhost"),
                ("'http://localhost:x/'", "", "is not an address"),
                ("'http://u:p@localhost/'", "", "must have no more than host, port and path"),
                ("'tcp://localhost:80/a'", "", "must have no more than host and port"),
                ("'http://localhost/é'", "", "must have a path of ASCII characters"),
                ("{type: htpp}", ".type", "must be one of http, tcp, exec, custom, none, is 'htpp'; did you mean h"),
                ("{type: tcp, path: /}", ".path", "does not go with a check of type tcp"),
                ("{type: none, interval: 5}", ".interval", "does not go with a check of type none"),
                ("{path: /, command: x}", ".command", "does not go with a check of type http"),
                ("{type: exec}", "", "a check of type exec needs a command"),
                ("{path: health}", ".path", "must be a path that starts with / and has no spaces, is 'health'"),
                ("{expected_status: 99}", ".expected_status", "must be a whole number between 100 and 599"),
                ("{interval: 0.1}", ".interval", "must be between 0.5 and 3600 seconds, is the number 0.1"),
                ("{timeout: 2h}", ".timeout", "must be between 0.1 and 3600 seconds, is '2h'"),
                ("{timeout: soon}", ".timeout", "must be a time such as 10s, 500ms or 1m30s, is 'soon'"),
                ("{timeout: 1s1m}", ".timeout", "must be a time such as"),
                ("{timeout: true}", ".timeout", "must be a time such as"),
                ("{timeout: 1e999}", ".timeout", "must be between 0.1 and 3600 seconds"),
                ("{retries: 0}", ".retries", "must be a whole number between 1 and 1000"),
                ("{url: 'http://x'}", ".url", "unknown key; write path"),
                ("{test: [CMD]}", ".test", "unknown key; write command"),
            )
        ),
        ("services: {a: {command: x, health_check: tcp}}", 1, "services.a.health_check", "tcp needs the service"),
        ("services: {a: {command: x, health_check: ':80'}}", 1, "services.a.health_check", "and the service has none"),
        ("services: {a: {command: x, health_check: {interval: 5}}}", 1, "services.a.health_check", "nothing to look"),
    ],
)  # fmt: skip  # a table is read by its columns
def test_what_has_to_be_corrected(text: str, line: int, key: str, message: str) -> None:
    error = refused(text)

    told = [one for one in error.details["problems"] if (one["line"], one["key"]) == (line, key)]
    assert any(message in one["message"] for one in told), error.why
    assert f"{FILE}, line {line}, {key}: " in error.message or (not key and f"{FILE}, line {line}: " in error.message)
    assert error.details["file"] == FILE


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    error = refused(
        """\
services:
  web:
    prot: 1
    healthcheck: tcp
  api: {command: x, port: abc, depends_on: [db, web]}
  db: {command: x, depends_on: [webb]}
hooks: {}
"""
    )

    assert error.why.splitlines() == [
        f"{FILE}, line 2, services.web: command is missing",
        f"{FILE}, line 3, services.web.prot: unknown key; did you mean port?",
        f"{FILE}, line 4, services.web.healthcheck: unknown key; write health_check",
        f"{FILE}, line 5, services.api.port: must be a whole number between 1 and 65535, is 'abc'",
        f"{FILE}, line 6, services.db.depends_on: webb is not among the services; did you mean web?",
        f"{FILE}, line 7, hooks: unknown key; write lifecycle",
    ]
    assert len(error.details["problems"]) == 6
    assert error.code == "invalid_config"


def test_of_many_problems_ten_are_told() -> None:
    assert refused("".join(f"key{number}: 1\n" for number in range(13))).why.endswith("\nand 3 more")
    many = refused("".join(f"key{number}: 1\n" for number in range(3000)))
    assert many.why.endswith("\nand many more")
    assert len(many.details["problems"]) == 10


def test_too_many_services() -> None:
    text = "services:\n" + "".join(f"  s{number}: {{command: x}}\n" for number in range(101))
    assert "must have at most 100 services, has 101" in refused(text).why


def test_the_value_of_a_variable_is_never_told() -> None:
    for env in ("{1A: hunter2}", "[=hunter2]", "[hunter2]", "hunter2", "{A: [hunter2]}"):
        error = refused(f"services: {{a: {{command: x, env: {env}}}}}")
        assert "hunter2" not in f"{error.message}{error.details}"


def test_the_first_file_counts() -> None:
    files = RepositoryFiles()
    assert list(files.paths) == [
        ".nexus/config.yaml",
        ".nexus/config.yml",
        ".devcontainer/devcontainer.json",
        ".devcontainer.json",
    ]
    assert files.understand({}) is None
    everything = dict.fromkeys(files.paths, "{}")
    first = files.understand(everything)
    assert first == ProjectConfig(FILE, notes=(".nexus/config.yml is not read, since there is .nexus/config.yaml.",))
    del everything[".nexus/config.yaml"]
    assert files.understand(everything) == ProjectConfig(".nexus/config.yml")
    del everything[".nexus/config.yml"]
    second = files.understand(everything)
    assert second is not None
    assert second.source == ".devcontainer/devcontainer.json"
