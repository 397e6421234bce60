"""The JSON Schema that editors use: it is made from the reader's tables, and takes what the reader takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, meta

from nexus_config import RepositoryFiles, config_schema
from nexus_config.problems import Report
from nexus_config.schema import page
from nexus_config.tree import Items, Node, Scalar, ScalarKind, Table
from nexus_config.yaml_tree import read_yaml
from nexus_core.errors import InvalidConfig

ROOT = Path(__file__).parent.parent.parent
SCHEMA = Draft202012Validator(config_schema())
VALUES: Mapping[ScalarKind, Callable[[str], Any]] = {
    ScalarKind.NULL: lambda text: None,
    ScalarKind.BOOLEAN: lambda text: text.lower() == "true",
    ScalarKind.WHOLE: int,
    ScalarKind.NUMBER: float,
    ScalarKind.TEXT: str,
}
PAGE = (ROOT / "docs" / "how-to" / "configure-a-repository.md").read_text()


def as_editors_see(text: str) -> Any:
    """The file as data, by the same rules for plain values that the reader has: those of YAML 1.2."""
    node = read_yaml(text, Report("file"))
    return None if node is None else _data(node)


def _data(node: Node) -> Any:
    match node:
        case Table():
            return {entry.key: _data(entry.value) for entry in node.entries}
        case Items():
            return [_data(item) for item in node.items]
        case Scalar():
            return VALUES[node.kind](node.text)


def is_understood(text: str) -> bool:
    try:
        RepositoryFiles().understand({".nexus/config.yaml": text})
    except InvalidConfig:
        return False
    return True


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference" / "config.schema.json").read_text()
    assert written == page(), "run: python -m nexus_config.schema > docs/reference/config.schema.json"


def test_it_is_a_schema_and_every_key_has_a_description() -> None:
    schema = config_schema()
    meta.validate(schema)
    for name, part in {"": schema, **schema["$defs"]}.items():
        for key, described in part["properties"].items():
            assert described["description"], f"{name}.{key}"


def test_another_provider_has_its_own_key() -> None:
    assert {"default", "incus"} == set(config_schema("incus")["properties"]["providers"]["properties"])


def test_every_definition_is_used() -> None:
    text = page()
    assert set(re.findall(r"#/\$defs/(\w+)", text)) == set(config_schema()["$defs"])


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_guide_are_understood(example: str) -> None:
    config = RepositoryFiles().understand({".nexus/config.yaml": example})
    assert config is not None
    SCHEMA.validate(as_editors_see(example))
    if "services:" in example:
        assert [one.name for one in config.services] == ["db", "api", "worker"]
        assert (config.cpu, config.memory, config.disk) == (2, "4GB", "20GB")


def test_the_dev_container_of_the_guide_is_understood() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    config = RepositoryFiles().understand({".devcontainer.json": example})
    assert config is not None
    assert config.setup == ("npm ci", "npm run build", "npm run seed")
    assert config.env == {"ROOT": "/home/dev/workspace"}
    assert [one.port for one in config.services] == [3000, 3001]
    assert len(config.notes) == 2


def test_the_guide_has_every_key() -> None:
    for part in (config_schema(), *config_schema()["$defs"].values()):
        for key in part["properties"]:
            assert re.search(rf"\b{key}\b", PAGE), key


GOOD = [
    "",
    "version: 1.0",
    "version: '1'",
    "name: 5\ndescription: true\nprovider:\n",
    "setup: a\nlifecycle: {pre_start: [a, b], post_start: c, pre_stop: }",
    "services: {a: {command: x, port: 80, expose: off, depends_on: b}, b: {command: y}}",
    "services: {a: {command: x, port: '80', expose: False, env: [A=1], depends_on: [b]}, b: {command: y}}",
    "services: [{name: a, command: x, environment: {A: yes, B: 1.5, C: true, D: ''}, env: }]",
    *(
        f"services: {{a: {{command: x, port: 80, health_check: {check}}}}}"
        for check in (
            "", "false", "none", "tcp", "/x", "{}", "{type: http, path: /, expected_status: '204'}", "{type: none}",
            "{type: tcp, path: , interval: 1m, timeout: 0.5, retries: 3, start_period: 0}", "{command: x}",
            "{type: exec, command: x, timeout: '10'}", "{type: custom, command: x}", "{path: /a, timeout: 1h}",
            "{type: , path: /}",
        )
    ),
    "providers: {default: x, lxc: {cpu: '2', memory: 4GB, disk: 20GiB, image: 22.04}, docker: {a: [1]}, k8s: 7}",
    "providers: {lxc: }",
]  # fmt: skip  # several short ones on a line
BAD = [
    "[]",
    "x",
    "version: 2",
    "nmae: a",
    "name: []",
    "setup: {}",
    "setup: ['']",
    "setup: [1]",
    "lifecycle: {stop: a}",
    "lifecycle: []",
    "services: x",
    "services: {a: }",
    "services: {a: {}}",
    "services: {a: {command: }}",
    "services: {a: {command: 5}}",
    "services: {a: {command: [x]}}",
    "services: {a b: {command: x}}",
    "services: {a: {command: x, name: a}}",
    "services: [{command: x}]",
    "services: [a]",
    *(
        f"services: {{a: {{command: x, {key}}}}}"
        for key in (
            "port: 0", "port: 70000", "port: abc", "port: true", "port: '08'", "port: 1.5", "expose: 1",
            "expose: maybe", "env: x", "env: {A: }", "env: {A: []}", "env: {A-B: c}", "env: [A]", "env: [{A: b}]",
            "env: {}, environment: []", "depends_on: {}", "depends_on: [b, b]", "depends_on: 1", "depends_on: ''",
            "image: x", "healthcheck: x",
        )
    ),
    *(
        f"services: {{a: {{command: x, port: 80, health_check: {check}}}}}"
        for check in (
            "true", "5", "[]", "''", "{type: x}", "{type: tcp, path: /}", "{type: exec}", "{type: exec, command: }",
            "{type: none, retries: 1}", "{type: http, command: x}", "{path: x}", "{path: '/a b'}", "{retries: 0}",
            "{interval: 0.1}", "{interval: soon}", "{interval: 4000}", "{timeout: ''}", "{timeout: []}", "{url: x}",
            "{expected_status: 20}",
        )
    ),
    "providers: []",
    "providers: {lxc: []}",
    "providers: {lxc: {cpu: 0}}",
    "providers: {lxc: {memory: 4}}",
    "providers: {lxc: {memory: 4gb}}",
    "providers: {lxc: {disk: 4G}}",
    "providers: {lxc: {ram: 4GB}}",
]  # fmt: skip  # several short ones on a line


@pytest.mark.parametrize("text", GOOD)
def test_what_the_reader_takes_the_schema_takes(text: str) -> None:
    assert is_understood(text)
    SCHEMA.validate(as_editors_see(text))


@pytest.mark.parametrize("text", BAD)
def test_what_the_schema_refuses_the_reader_refuses(text: str) -> None:
    assert not SCHEMA.is_valid(as_editors_see(text))
    assert not is_understood(text)


PIECES = st.sampled_from(
    ["", "1", "a", "''", "null", "no", "1.0", "[]", "{}", ", ", ": ", "port: 5", "command: x", "&a ", "*a", "!!str "]
)


@given(text=st.sampled_from(GOOD), data=st.data())
@settings(max_examples=300)
def test_the_schema_takes_whatever_the_reader_takes_of_changed_files(text: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 8)))
    changed = text[:begin] + data.draw(PIECES) + text[end:]
    if is_understood(changed):
        SCHEMA.validate(as_editors_see(changed))
