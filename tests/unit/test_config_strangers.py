"""Files that nobody wrote for Nexus, or nobody wrote: each is understood, or refused in words of its own, and soon."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck as Slow
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

import nexus_config.yaml_tree
from nexus_config import RepositoryFiles, config_schema
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.service import LONGEST_SCRIPT, CheckType, HealthCheck, ServiceSpec, check_services
from nexus_core.errors import InvalidConfig

FILES = RepositoryFiles()
SCHEMA = Draft202012Validator(config_schema())
YAML, JSON = ".nexus/config.yaml", ".devcontainer.json"

STRANGERS = {
    "an older spelling": (
        """\
version: "1.0"
services:
  web:
    command: npm start
    port: 3000
    healthcheck:
      url: http://localhost:3000/health
      interval: 10
hooks:
  pre_start: npm ci
""",
        ["line 6, services.web.healthcheck: unknown key; write health_check", "line 9, hooks: unknown key; write life"],
    ),
    "a compose file": (
        """\
version: "3.8"
services:
  web:
    build: .
    ports:
      - "3000:3000"
    depends_on:
      db:
        condition: service_healthy
    environment:
      - DATABASE_URL=postgres://db/app
      - HOST_TOKEN
  db:
    image: postgres:16
    restart: always
    healthcheck:
      test: ["CMD", "pg_isready"]
    volumes:
      - data:/var/lib/postgresql/data
volumes:
  data:
""",
        [
            "line 1, version: must be 1.0, is '3.8'",
            "line 3, services.web: command is missing",
            "line 4, services.web.build: unknown key; services are programs that run in the workspace, not containers",
            "line 5, services.web.ports: unknown key; write port, one number",
            "line 7, services.web.depends_on: must be the name of a service or a list of them, is a mapping",
            "line 12, services.web.environment[1]: must be NAME=value: no variables are handed on from outside",
            "line 13, services.db: command is missing",
            "line 14, services.db.image: unknown key; services are programs",
            "line 15, services.db.restart: unknown key; services run as dev and are started again when they end",
        ],
    ),
    "sections of other tools": (
        """\
docker:
  image: node:20
runners:
  - name: lint
resources: {cpu: 2}
env:
  A: b
""",
        [
            "line 1, docker: unknown key; write providers, with the name below it",
            "line 3, runners: unknown key; there are version",
            "line 5, resources: unknown key; write it below providers.lxc",
            "line 6, env: unknown key; variables belong to a service: services.NAME.env",
        ],
    ),
    "one service a line": (
        "services:\n  web: npm start\n  worker: npm run worker\n",
        ["line 2, services.web: must be a mapping, is 'npm start'", "line 3, services.worker: must be a mapping"],
    ),
    "commands as lists": (
        "services:\n- name: web\n  cmd: [npm, start]\n  cwd: app\n",
        [
            "line 2, services[0]: command is missing",
            "line 3, services[0].cmd: unknown key; write command",
            "line 4, services[0].cwd: unknown key; begin the command with `cd DIR &&`",
        ],
    ),
    "steps as in pipelines": (
        "on: push\njobs:\n  build:\n    steps: [{run: make}]\n",
        ["line 1, on: unknown key", "line 2, jobs: unknown key"],
    ),
    "sizes of other tools": (
        "providers:\n  lxc:\n    cpus: 2\n    memory: 4g\n    disk: 20 GB\n",
        [
            "line 3, providers.lxc.cpus: unknown key; write cpu",
            "line 4, providers.lxc.memory: must be a size such as 4GB or 4GiB, is '4g'; did you mean 4GB?",
            "line 5, providers.lxc.disk: must be a size such as 4GB or 4GiB, is '20 GB'; did you mean 20GB?",
        ],
    ),
}

HOSTILE = {
    "aliases that multiply": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"k{n}: &k{n} [{','.join([f'*k{n - 1}' if n else '*a'] * 9)}]\n" for n in range(30)),
    "merges that multiply": "a: &k0 {x: 1, y: 2}\n"
    + "".join(f"b{n}: &k{n + 1}\n  <<: [{','.join([f'*k{n}'] * 40)}]\n" for n in range(30)),
    "an alias of itself": "a: &a {<<: *a}",
    "deep lists": "[" * 200_000,
    "deep mappings": "{a: " * 60_000,
    "deep blocks": "- " * 100_000,
    "deep keys": "? " * 100_000,
    "many values": "setup: [" + "a," * 120_000 + "]",
    "many keys": "".join(f"k{n}: 1\n" for n in range(9_900)),
    "a long key": "a" * 250_000 + ": b",
    "many dependencies": "services: {a: {command: x, depends_on: [" + ",".join(f"k{n}" for n in range(19_000)) + "]}}",
    "a long number": "version: " + "9" * 250_000,
    "a long fraction": "services: {a: {command: x, port: 1, health_check: {timeout: 1." + "0" * 250_000 + "x}}}",
    "open quotes": '"' + "\\n" * 100_000,
    "many documents": "---\n" * 60_000,
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_strangers_file_is_refused_in_words_that_help(name: str) -> None:
    text, expected = STRANGERS[name]
    with pytest.raises(InvalidConfig) as refusal:
        FILES.understand({YAML: text})

    lines = refusal.value.why.splitlines()
    for one in expected:
        assert any(line.startswith(f"{YAML}, {one}") for line in lines), (one, lines)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", [YAML, JSON])
def test_a_hostile_file_is_refused_soon(name: str, path: str) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidConfig) as refusal:
        FILES.understand({path: HOSTILE[name]})

    assert time.process_time() - begun < 5  # it takes less than half a second of an idle machine
    assert len(refusal.value.why) < 5_000


WORDS = st.sampled_from(
    ["services", "web", "command", "port", "health_check", "env", "depends_on", "lifecycle", "providers", "lxc", "cpu",
     "{", "}", "[", "]", ":", ": ", ",", "\n", "\n  ", "\t", "- ", "&a", "*a", "<<", "!!str", "!x", "|", ">", "'", '"',
     "#", "---", "...", "? ", "%YAML 1.2", "~", "1", "0.5", "true", "\\", "\\u", "\ufeff", "\0", "\u2028", "é", "//"]
)  # fmt: skip  # several short ones on a line
TEXTS = st.text(max_size=200) | st.lists(WORDS, max_size=60).map("".join)
EXAMPLES = st.sampled_from([text for text, _ in STRANGERS.values()])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A file with something cut out, put in or put twice."""
    text = draw(EXAMPLES)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 20)))
        text = text[:begin] + draw(WORDS | st.just(text[begin:end] * 2)) + text[end:]
    return text


def understood_or_refused(text: str) -> None:
    for path in (YAML, JSON):
        outcome = outcome_of(path, text)
        if isinstance(outcome, InvalidConfig):
            assert outcome.why.startswith(f"{path}, line ")
            lines = 1 + sum(map(text.count, "\n\r\x85\u2028\u2029"))
            assert all(1 <= one["line"] <= lines for one in outcome.details["problems"])
            assert json.dumps(outcome.details).isascii()
            assert outcome.message.encode()
        else:
            assert outcome is not None
            check_services(outcome.services)


def outcome_of(path: str, text: str) -> ProjectConfig | InvalidConfig | None:
    try:
        return FILES.understand({path: text})
    except InvalidConfig as exc:
        return exc


@given(text=TEXTS | mutated())
@settings(max_examples=400, suppress_health_check=[Slow.too_slow])  # a busy machine is no failure
def test_any_text_is_understood_or_refused(text: str) -> None:
    understood_or_refused(text)


@given(text=TEXTS | mutated())
@settings(max_examples=200, suppress_health_check=[Slow.too_slow])  # a busy machine is no failure
def test_any_text_is_understood_or_refused_without_libyaml(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nexus_config.yaml_tree, "LOADER", yaml.SafeLoader)
        understood_or_refused(text)


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,10}", fullmatch=True)
SCRIPTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60).filter(
    lambda text: bool(text.strip()) and len(text) < LONGEST_SCRIPT
)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VARIABLES = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=3)


@st.composite
def checks(draw: st.DrawFn, port: int | None) -> dict[str, Any]:
    kinds = [CheckType.NONE, CheckType.EXEC, CheckType.CUSTOM, *([CheckType.HTTP, CheckType.TCP] if port else [])]
    kind = draw(st.sampled_from(kinds))
    check: dict[str, Any] = {"type": str(kind)}
    if kind is CheckType.HTTP:
        check["path"] = draw(st.sampled_from(["/", "/health?x=1"]))
        check["expected_status"] = draw(st.integers(100, 599))
    if kind in (CheckType.EXEC, CheckType.CUSTOM):
        check["command"] = draw(SCRIPTS)
    if kind is not CheckType.NONE:
        check["interval"] = draw(st.integers(1, 3600))
        check["timeout"] = draw(st.sampled_from([0.5, 2.25, 60]))
        check["retries"] = draw(st.integers(1, 1000))
    return check


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A valid file as data: services depend on earlier ones, and have ports of their own."""
    services: dict[str, Any] = {}
    for index, name in enumerate(draw(st.lists(NAMES, unique=True, max_size=5))):
        port = draw(st.none() | st.just(3000 + index))
        services[name] = {
            "command": draw(SCRIPTS),
            "env": draw(VARIABLES),
            "depends_on": draw(st.lists(st.sampled_from(sorted(services)), unique=True)) if services else [],
            "health_check": draw(checks(port)),
            "expose": draw(st.booleans()) if port else False,
            **({"port": port} if port else {}),
        }
    scripts = st.lists(SCRIPTS, max_size=2)
    return {
        "services": services,
        "setup": draw(scripts),
        "lifecycle": {key: draw(scripts) for key in ("pre_start", "post_start", "pre_stop")},
        "providers": {"lxc": {"cpu": draw(st.integers(1, 512)), "memory": "4GB", "disk": "20GiB"}},
    }


@given(data=configurations(), as_list=st.booleans())
@settings(suppress_health_check=[Slow.too_slow])  # a busy machine is no failure
def test_a_valid_file_says_what_was_written(data: dict[str, Any], as_list: bool) -> None:
    written = dict(data)
    if as_list:
        written["services"] = [{"name": name, **keys} for name, keys in data["services"].items()]
    SCHEMA.validate(written)
    config = FILES.understand({YAML: _yaml(written)})

    assert config == ProjectConfig(
        YAML,
        services=tuple(_spec(name, keys) for name, keys in data["services"].items()),
        setup=tuple(data["setup"]),
        pre_start=tuple(data["lifecycle"]["pre_start"]),
        post_start=tuple(data["lifecycle"]["post_start"]),
        pre_stop=tuple(data["lifecycle"]["pre_stop"]),
        cpu=data["providers"]["lxc"]["cpu"],
        memory="4GB",
        disk="20GiB",
    )


def _yaml(data: dict[str, Any]) -> str:
    # Quoted throughout, numbers as !!int "1": PyYAML quotes what would not be text in YAML 1.1, and only that.
    return str(yaml.safe_dump(data, sort_keys=False, default_style='"'))


def _spec(name: str, keys: dict[str, Any]) -> ServiceSpec:
    check: dict[str, Any] = {**keys["health_check"], "type": CheckType(keys["health_check"]["type"])}
    changed: dict[str, Any] = {
        "name": name,
        "depends_on": tuple(keys["depends_on"]),
        "health_check": HealthCheck(**check),
    }
    return ServiceSpec(**{**keys, **changed})
