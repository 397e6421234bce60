"""How a service's health is told, as a mapping or in short."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from nexus_config.durations import Duration
from nexus_config.kinds import NOT_BLANK, Choice, Definitions, Kind, Schema, Script, Text, Whole
from nexus_config.problems import Place
from nexus_config.shapes import Field, Found, Record, because, instead
from nexus_config.tree import Node, Scalar, ScalarKind, Table, told
from nexus_core.domain.service import CheckType, HealthCheck

_DEFAULT: Final = HealthCheck()
_BELONGING: Final[Mapping[CheckType, tuple[str, ...]]] = {
    CheckType.HTTP: ("path", "expected_status"),
    CheckType.TCP: (),
    CheckType.EXEC: ("command",),
    CheckType.CUSTOM: ("command",),
    CheckType.NONE: (),
}
_TIMES: Final = ("interval", "timeout", "retries", "start_period")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_HOST_AND_PORT: Final = re.compile(r"(?P<host>[A-Za-z0-9_.-]*|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PATH: Final = "/[!-~]*"


@dataclass(frozen=True, slots=True)
class WantedCheck:
    """A check as the file asks for it.

    Where it is ``undecided`` how to look, the service's port decides; ``port`` is the one that is named, if any.
    ``timed`` is a check of which only times are said.
    """

    check: HealthCheck
    undecided: bool = False
    port: int | None = None
    timed: bool = False

    def decided(self, port: int | None) -> HealthCheck:
        """The check of a service with this port."""
        if not self.undecided or port is None:
            return self.check
        values = {name: getattr(self.check, name) for name in _TIMES}
        return HealthCheck(CheckType.TCP, **values)


def keys_of(kind: CheckType) -> tuple[str, ...]:
    """The keys that a check of this type may have, besides ``type``."""
    return () if kind is CheckType.NONE else (*_BELONGING[kind], *_TIMES)


def _build(found: Found) -> WantedCheck | None:
    kind = _kind(found)
    if kind is None:
        return WantedCheck(HealthCheck(CheckType.NONE, **found.values), undecided=True, timed=bool(found.values))
    fitting = True
    for key in found.values:
        if key != "type" and key not in keys_of(kind):
            found.place(key).refuse(f"does not go with a check of type {kind}")
            fitting = False
    if "command" in _BELONGING[kind] and "command" not in found.values:
        found.at.refuse(f"a check of type {kind} needs a command")
        fitting = False
    values = {name: value for name, value in found.values.items() if name != "type"}
    return WantedCheck(HealthCheck(kind, **values)) if fitting else None


def _kind(found: Found) -> CheckType | None:
    """The type that is named, or the one whose keys are there."""
    if "type" in found.values:
        return CheckType(found.get("type"))
    for kind in (CheckType.HTTP, CheckType.EXEC):
        if any(key in found.values for key in _BELONGING[kind]):
            return kind
    return None


def _rules() -> list[Schema]:
    """For each type: its own keys at most, and its command."""
    own = sorted({key for keys in _BELONGING.values() for key in keys})
    rules: list[Schema] = []
    for kind, keys in _BELONGING.items():
        without: dict[str, Any] = {key: {"type": "null"} for key in (*own, *_TIMES) if key not in keys_of(kind)}
        then: Schema = {"properties": without}
        if "command" in keys:
            then = {"properties": {**without, "command": {"type": "string"}}, "required": ["command"]}
        rules.append({"if": {"properties": {"type": {"const": kind.value}}, "required": ["type"]}, "then": then})
    return rules


_MAPPING: Final = Record(
    {
        "type": Field(
            Choice([kind.value for kind in CheckType]),
            "How to look: `http` asks for `path`, `tcp` connects to the port, `exec` and `custom` run `command`.",
        ),
        "path": Field(Text(_PATH, "a path that starts with / and has no spaces"), "What to ask for.", default="/"),
        "expected_status": Field(Whole(100, 599), "The status that is healthy; left out, any below 400."),
        "command": Field(Script(), "A shell line, run in the workspace; exit status 0 is healthy."),
        "interval": Field(Duration(0.5), "The time from one look to the next.", default=_DEFAULT.interval),
        "timeout": Field(Duration(0.1), "How long an answer may take.", default=_DEFAULT.timeout),
        "retries": Field(
            Whole(1, 1000), "After this many failures a service has failed to start.", default=_DEFAULT.retries
        ),
        "start_period": Field(
            Duration(0.0), "How long failures do not count after the start.", default=_DEFAULT.start_period
        ),
    },
    _build,
    name="health_check",
    foreign={
        **instead("path", "url", "endpoint", "uri", "http"),
        **instead("command", "test", "cmd", "script", "exec", "shell"),
        **instead("type: none", "disable", "disabled"),
        **instead("expected_status", "status", "status_code", "code"),
        **instead("start_period", "initial_delay", "delay", "grace_period"),
        **instead("interval", "period", "every"),
        **instead("retries", "failure_threshold", "attempts"),
        **because("it is always the service's own port that is looked at", "port"),
        **because("checks look at the workspace's own loopback", "host"),
    },
    rules={"allOf": _rules()},
)


@dataclass(frozen=True, slots=True)
class HealthChecks(Kind[WantedCheck]):
    """A mapping; or in short: a path, an address, `http`, `tcp`, `none`, false, or any other text as a command."""

    def read(self, node: Node, at: Place) -> WantedCheck | None:
        if isinstance(node, Table):
            return _MAPPING.read(node, at)
        if isinstance(node, Scalar) and node.kind is ScalarKind.TEXT:
            return _in_short(node.text.strip(), at, node)
        if isinstance(node, Scalar) and node.kind is ScalarKind.BOOLEAN and node.text.lower() == "false":
            return WantedCheck(HealthCheck(CheckType.NONE))
        at.refuse(f"must be a mapping, or text such as tcp, /health or a command, {told(node)}")
        return None

    def schema(self, definitions: Definitions) -> Schema:
        short: Schema = {
            "type": "string",
            "pattern": NOT_BLANK,
            "examples": ["tcp", "http", "none", "/health", "http://localhost:3000/health", "pg_isready"],
        }
        return {"anyOf": [_MAPPING.schema(definitions), short, {"const": False}]}


def _in_short(text: str, at: Place, node: Scalar) -> WantedCheck | None:
    word = text.lower()
    if word in (CheckType.HTTP, CheckType.TCP, CheckType.NONE):
        return WantedCheck(HealthCheck(CheckType(word)))
    if word in (CheckType.EXEC, CheckType.CUSTOM):
        at.refuse(f"needs a command; write the command itself, or a mapping with type: {word}")
        return None
    if text.startswith("/") and re.fullmatch(_PATH, text):
        return WantedCheck(HealthCheck(CheckType.HTTP, path=text))
    if re.match(r"[a-z][a-z0-9+.-]*://\S*\Z", word):
        return _address(text, at)
    bare = _HOST_AND_PORT.fullmatch(text)
    if bare is not None:
        return _on_loopback(bare["host"].strip("[]") or "localhost", int(bare["port"]), HealthCheck(CheckType.TCP), at)
    command = Script().read(node, at)
    return None if command is None else WantedCheck(HealthCheck(CheckType.EXEC, command=command))


def _address(text: str, at: Place) -> WantedCheck | None:
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        at.refuse("is not an address")
        return None
    path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    if url.scheme == "https":
        at.refuse("must be http://; checks are plain http, from inside the workspace")
    elif url.scheme not in (CheckType.HTTP, CheckType.TCP):
        at.refuse(f"must be an address with http:// or tcp://, has {url.scheme}://")
    elif url.username is not None or url.fragment or (url.scheme == CheckType.TCP and path != "/"):
        at.refuse(f"must have no more than host{', port and path' if url.scheme == CheckType.HTTP else ' and port'}")
    elif not re.fullmatch(_PATH, path):
        at.refuse("must have a path of ASCII characters")
    else:
        return _on_loopback(host, port, HealthCheck(CheckType(url.scheme), path=path), at)
    return None


def _on_loopback(host: str, port: int | None, check: HealthCheck, at: Place) -> WantedCheck | None:
    if host.lower() not in _LOOPBACK:
        at.refuse("must have the host localhost; checks look at the workspace's own loopback")
        return None
    return WantedCheck(check, port=port)
