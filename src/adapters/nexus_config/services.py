"""The services of a configuration file: each read by itself, then all of them together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from nexus_config.environment import Environment
from nexus_config.health import HealthChecks, WantedCheck
from nexus_config.kinds import Boolean, Definitions, Kind, Schema, Script, Text, Whole
from nexus_config.problems import Place
from nexus_config.service_graph import ServiceAt, check_together
from nexus_config.shapes import Field, Found, OneOrMany, Record, because, instead
from nexus_config.tree import Entry, Items, Node, Scalar, ScalarKind, Table, told
from nexus_core.domain.service import (
    MOST_SERVICES,
    SERVICE_NAME,
    HealthCheck,
    ServiceSpec,
    check_services,
)
from nexus_core.errors import InvalidRequest

_NAME: Final = Text(SERVICE_NAME, "1-63 of letters, digits, '_', '.' and '-', starting with a letter or digit")


def _build(found: Found) -> ServiceSpec | None:
    if "env" in found.values and "environment" in found.values:
        found.place("environment").refuse("there is env too; write one of them")
        return None
    port: int | None = found.get("port")
    wanted: WantedCheck = found.get("health_check", WantedCheck(HealthCheck(), undecided=True))
    if wanted.port not in (None, port):
        has = "has none" if port is None else f"has {port}"
        found.place("health_check").refuse(f"looks at port {wanted.port}, and the service {has}")
        return None
    check = wanted.decided(port)
    if wanted.timed and port is None:
        found.place("health_check").refuse("there is nothing to look at: give a command, or the service a port")
        return None
    spec = ServiceSpec(
        name=found.get("name", "service"),
        command=found.get("command"),
        port=port,
        depends_on=found.get("depends_on", ()),
        env=found.get("env", found.get("environment", {})),
        health_check=check,
        expose=found.get("expose", port is not None),
    )
    return spec if _can_be_run(spec, found) else None


def _can_be_run(spec: ServiceSpec, found: Found) -> bool:
    """Whether the core takes the service for itself; its dependencies are judged with the others there."""
    try:
        check_services([replace(spec, depends_on=())], at="$")
    except InvalidRequest as exc:
        for path, reason in exc.details.items():
            found.place(path.removeprefix("$[0].").partition(".")[0]).refuse(reason)
        return False
    return True


_FIELDS: Final[Mapping[str, Field[object]]] = {
    "command": Field(Script(), "The program: any shell text, run as dev in the repository.", required=True),
    "port": Field(Whole(1, 65535), "The port it listens on inside the workspace; none for a worker."),
    "env": Field(Environment(), "Variables for it: a mapping, or a list of NAME=value."),
    "environment": Field(Environment(), "Another spelling of `env`."),
    "depends_on": Field(
        OneOrMany(_NAME, "the name of a service", distinct=True), "Services that must be healthy before it starts."
    ),
    "health_check": Field(HealthChecks(), "How to tell that it is well. Left out: tcp where there is a port."),
    "expose": Field(Boolean(), "Whether a port of the host leads to it. Left out: true where there is a port."),
}
_RUNS_HERE: Final = "services are programs that run in the workspace, not containers"
_FOREIGN: Final = {
    **instead("health_check", "healthcheck", "health", "check", "readiness_probe", "liveness_probe"),
    **instead("command", "cmd", "run", "exec", "start", "script", "entrypoint"),
    **instead("depends_on", "depends", "requires", "needs", "dependencies", "after"),
    **instead("env", "envs", "variables", "vars"),
    **instead("port, one number", "ports", "target_port", "container_port"),
    **instead("expose: true", "public", "forward", "publish"),
    **because("read it in the command: `. ./.env; …`", "env_file"),
    **because("begin the command with `cd DIR &&`", "working_dir", "workdir", "cwd", "directory", "dir"),
    **because("the order is given by depends_on", "priority", "order"),
    **because("services run as dev and are started again when they end", "user", "restart", "restart_policy"),
    **because(_RUNS_HERE, "image", "build", "dockerfile", "container_name", "volumes", "networks", "docker"),
}


def _service(fields: Mapping[str, Field[object]], name: str, foreign: Mapping[str, str]) -> Record[ServiceSpec]:
    rules = {"not": {"required": ["env", "environment"], "properties": _BOTH_GIVEN}}
    return Record(fields, _build, name=name, foreign={**_FOREIGN, **foreign}, rules=rules)


_BOTH_GIVEN: Final = {key: {"not": {"type": "null"}} for key in ("env", "environment")}
_BY_KEY: Final = _service(_FIELDS, "service", because("a service's name is the key before it", "name"))
_IN_LIST: Final = _service({"name": Field(_NAME, "Its name.", required=True), **_FIELDS}, "named_service", {})


@dataclass(frozen=True, slots=True)
class Services(Kind[tuple[ServiceSpec, ...]]):
    """A mapping of names to services, or a list of services with names; together they can be run."""

    def read(self, node: Node, at: Place) -> tuple[ServiceSpec, ...] | None:
        problems = len(at.report.problems)
        there = node.entries if isinstance(node, Table) else node.items if isinstance(node, Items) else ()
        if len(there) > MOST_SERVICES:
            at.refuse(f"must have at most {MOST_SERVICES} services, has {len(there)}")
            return None
        match node:
            case Table():
                found = [_by_key(entry, at.below(entry)) for entry in node.entries]
            case Items():
                found = [_in_list(item, at.item(index, item.line)) for index, item in enumerate(node.items)]
            case Scalar():
                at.refuse(f"must be a mapping of names to services, {told(node)}")
                return None
        check_together(found)
        return None if len(at.report.problems) > problems else tuple(one.spec for one in found if one.spec is not None)

    def schema(self, definitions: Definitions) -> Schema:
        return {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"pattern": f"^{SERVICE_NAME}$"},
                    "additionalProperties": _BY_KEY.schema(definitions),
                    "maxProperties": MOST_SERVICES,
                },
                {"type": "array", "items": _IN_LIST.schema(definitions), "maxItems": MOST_SERVICES},
            ]
        }


def _by_key(entry: Entry, at: Place) -> ServiceAt:
    name = _NAME.read(Scalar(ScalarKind.TEXT, entry.key, entry.line), at)
    spec = _BY_KEY.read(entry.value, at)
    return ServiceAt(name, at, entry.value, None if name is None or spec is None else replace(spec, name=name))


def _in_list(node: Node, at: Place) -> ServiceAt:
    spec = _IN_LIST.read(node, at)
    entries = node.entries if isinstance(node, Table) else ()
    names = [one.value.text for one in entries if one.key == "name" and isinstance(one.value, Scalar)]
    name = next((name for name in names if re.fullmatch(SERVICE_NAME, name)), None)
    return ServiceAt(name, at, node, spec)
