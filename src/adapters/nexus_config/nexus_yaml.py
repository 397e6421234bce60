"""The file .nexus/config.yaml: one table of its keys, which reads it and is its JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from nexus_config.kinds import Constant, Schema, Script, Size, Text, Whole
from nexus_config.problems import Place, Report
from nexus_config.services import Services
from nexus_config.shapes import Field, Found, OneOrMany, Record, because, instead
from nexus_config.tree import is_null
from nexus_config.yaml_tree import read_yaml
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.resources import MAX_CPU, MIN_DISK, MIN_MEMORY

_LABEL: Final = Text(any_scalar=True)
_SCRIPTS: Final = OneOrMany(Script(), "a script")


def understand_yaml(file: str, text: str, *, provider: str) -> ProjectConfig:
    """What the text of this file says. Raises `InvalidConfig`."""
    report = Report(file)
    node = read_yaml(text, report)
    config = ProjectConfig(file) if node is None or is_null(node) else _file(provider).read(node, Place(report))
    if config is None or report.problems:
        raise report.failure()
    return config


def config_schema(provider: str = "lxc") -> Schema:
    """The file as JSON Schema (draft 2020-12), for editors: it takes whatever the server takes."""
    definitions: dict[str, Schema] = {}
    schema = _file(provider).schema(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Nexus: .nexus/config.yaml",
        "description": "How a repository is run in a workspace. Every key is optional unless it says otherwise.",
        **schema,
        "type": ["object", "null"],
        "$defs": definitions,
    }


def _file(provider: str) -> Record[ProjectConfig]:
    versions = {"1.0": 1, "1": 1}
    return Record(
        {
            "version": Field(Constant(versions, "this server understands no other"), "The format.", default="1.0"),
            "name": Field(_LABEL, "The project's name, for people."),
            "description": Field(_LABEL, "What the project is, for people."),
            "provider": Field(Text(), f"What the file was written for; here workspaces run on {provider}."),
            "services": Field(Services(), "The programs that a workspace runs: names and services."),
            "providers": Field(_providers(provider), "What the machine is to be, for each provider."),
            "setup": Field(_SCRIPTS, "Scripts that run once, before the first start; a request's own replace them."),
            "lifecycle": Field(_LIFECYCLE, "Scripts that run at certain moments, as dev in the repository."),
        },
        lambda found: _build(found, provider),
        foreign={**_FOREIGN, **instead(f"it below providers.{provider}", *_MACHINE.fields, "resources")},
    )


_FOREIGN: Final = {
    **instead("lifecycle", "hooks", "scripts", "life_cycle"),
    **instead("setup", "install", "prepare", "init"),
    **instead("services", "processes", "apps", "tasks", "commands"),
    **instead("providers, with the name below it", "docker", "lxc", "lxd", "kubernetes", "podman"),
    **instead("lifecycle.pre_start", "pre_start", "prestart"),
    **instead("lifecycle.post_start", "post_start", "poststart"),
    **instead("lifecycle.pre_stop", "pre_stop", "prestop"),
    **because("variables belong to a service: services.NAME.env", "env", "environment", "variables"),
    **because("ports belong to a service: services.NAME.port", "ports", "port"),
}

_LIFECYCLE: Final[Record[dict[str, Any]]] = Record(
    {
        "pre_start": Field(_SCRIPTS, "Once, after `setup` and before the first start of the services."),
        "post_start": Field(_SCRIPTS, "Each time that all services are up."),
        "pre_stop": Field(_SCRIPTS, "Each time before the services are stopped."),
    },
    lambda found: dict(found.values),
    name="lifecycle",
    foreign={
        **instead("pre_start", "setup", "post_create", "on_create", "before_start", "init", "install"),
        **instead("pre_stop", "post_stop", "on_stop", "before_stop", "cleanup", "teardown"),
        **instead("post_start", "after_start", "on_start", "start"),
    },
)


def _machine(found: Found) -> dict[str, Any]:
    return dict(found.values)


_MACHINE: Final[Record[dict[str, Any]]] = Record(
    {
        "image": Field(
            Text(any_scalar=True, most=255), "The image the project expects; a workspace's is chosen when it is made."
        ),
        "cpu": Field(Whole(1, MAX_CPU), "Cores. Left out: as the server's settings say."),
        "memory": Field(Size(MIN_MEMORY), "Memory, with a unit. Left out: as the server's settings say."),
        "disk": Field(Size(MIN_DISK), "Disk space, with a unit. Left out: as the server's settings say."),
    },
    _machine,
    name="machine",
    foreign={
        **instead("cpu", "cpus", "cores", "vcpu", "vcpus"),
        **instead("memory", "ram", "mem"),
        **instead("disk", "storage", "disk_size", "size", "root_size"),
        **because("write cpu, memory and disk without it", "resources", "limits"),
    },
)


def _providers(provider: str) -> Record[dict[str, Any]]:
    def build(found: Found) -> dict[str, Any]:
        default = found.get("default")
        report = found.at.report
        if default not in (None, provider):
            report.note(f"{report.file}: providers.default is {default}; this workspace runs on {provider}.")
        others = ", ".join(found.at.below(one).key for one in found.others)
        if others:
            report.note(f"{report.file}: {others} is not used here; this workspace runs on {provider}.")
        machine: dict[str, Any] = found.get(provider, {})
        return machine

    return Record(
        {
            "default": Field(Text(), f"The provider the file is written for first; here it is {provider}."),
            provider: Field(_MACHINE, "What a workspace of this server is given."),
        },
        build,
        open=True,
    )


def _build(found: Found, provider: str) -> ProjectConfig:
    report = found.at.report
    named = found.get("provider")
    if named not in (None, provider):
        report.note(f"{report.file}: provider is {named}; this workspace runs on {provider}.")
    lifecycle: dict[str, Any] = found.get("lifecycle", {})
    return ProjectConfig(
        report.file,
        services=found.get("services", ()),
        setup=found.get("setup", ()),
        **lifecycle,
        **found.get("providers", {}),
        notes=report.notes,
    )
