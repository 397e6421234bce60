"""The file devcontainer.json: what of it a workspace can do is done, and each other property gets a note."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nexus_config.devcontainer_kinds import Amount, Commands, Ports, Variables
from nexus_config.json_tree import read_json
from nexus_config.kinds import Anything, Text, Whole
from nexus_config.problems import Place, Report
from nexus_config.shapes import Field, Found, Record
from nexus_config.substitution import WORKSPACE
from nexus_config.tree import Entry, Items, Node, Table, is_null
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.resources import MAX_CPU, MIN_DISK, MIN_MEMORY
from nexus_core.domain.service import MOST_SERVICES, ServiceSpec

_BEFORE: Final = ("onCreateCommand", "updateContentCommand", "postCreateCommand")  # in the order they are run
_ENVIRONMENTS: Final = ("containerEnv", "remoteEnv")  # the later one wins
_USERS: Final = ("remoteUser", "containerUser")
_COSMETIC: Final = frozenset({"label", "onAutoForward"})

_NO_IMAGE: Final = "an image is chosen when a workspace is created"
_NO_BUILD: Final = "nothing is built; install what is needed in onCreateCommand"
_NO_COMPOSE: Final = "a workspace is one machine; name its services in .nexus/config.yaml"
_NO_OPTIONS: Final = "a workspace is given its limits and rights by the server"
_NO_MOUNTS: Final = "nothing of another machine is mounted into a workspace"
_NO_EDITOR: Final = "it is an editor's own"
_UNUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("image",), _NO_IMAGE),
    **dict.fromkeys(("build", "dockerFile", "context", "features", "overrideFeatureInstallOrder"), _NO_BUILD),
    **dict.fromkeys(("dockerComposeFile", "service", "runServices"), _NO_COMPOSE),
    **dict.fromkeys(("runArgs", "privileged", "init", "capAdd", "securityOpt"), _NO_OPTIONS),
    **dict.fromkeys(("mounts", "workspaceMount"), _NO_MOUNTS),
    **dict.fromkeys(("customizations", "extensions", "settings", "devPort"), _NO_EDITOR),
    "workspaceFolder": f"the repository is always in {WORKSPACE}",
    "initializeCommand": "it would run outside the workspace",
    "postAttachCommand": "a workspace does not know when somebody's editor attaches; postStartCommand is run",
    "appPort": "write forwardPorts",
    "waitFor": "a workspace is ready when all its commands have ended",
    "userEnvProbe": "variables come from containerEnv and remoteEnv alone",
    "shutdownAction": "a workspace runs until it is stopped",
    "overrideCommand": "a workspace runs systemd, and nothing in its place",
    "updateRemoteUserUID": "everything runs as dev",
    "secrets": "it asks for values that only a person has",
}


def understand_json(file: str, text: str) -> ProjectConfig:
    """What the text of this file says. Raises `InvalidConfig`."""
    report = Report(file)
    config = _FILE.read(read_json(text, report), Place(report))
    if config is None or report.problems:
        raise report.failure()
    return config


def _requirements(found: Found) -> dict[str, Any]:
    for entry in found.others:
        _not_used(entry, found.at, "a workspace has cpu, memory and disk only")
    names = {"cpus": "cpu", "memory": "memory", "storage": "disk"}
    return {names[key]: value for key, value in found.values.items()}


_REQUIREMENTS: Final = Record(
    {
        "cpus": Field(Whole(1, MAX_CPU), "Cores."),
        "memory": Field(Amount(MIN_MEMORY), "Memory."),
        "storage": Field(Amount(MIN_DISK), "Disk space."),
    },
    _requirements,
    open=True,
)


def _build(found: Found) -> ProjectConfig | None:
    report = found.at.report
    ports: tuple[int, ...] = found.get("forwardPorts", ())
    if len(ports) > MOST_SERVICES:
        found.place("forwardPorts").refuse(f"must have at most {MOST_SERVICES} ports, has {len(ports)}")
        return None
    for key in _USERS:
        if found.get(key, "dev") != "dev":
            found.place(key).note("is not used: everything runs as dev")
    for key in ("portsAttributes", "otherPortsAttributes"):
        if not _is_cosmetic(found.get(key)):
            found.place(key).note("is not used beyond names: ports are forwarded as they are")
    for entry in found.others:
        _not_used(entry, found.at, _UNUSED.get(entry.key, "it is not known here"))
    return ProjectConfig(
        report.file,
        services=tuple(ServiceSpec(f"port-{port}", None, port, expose=True) for port in ports),
        setup=tuple(script for key in _BEFORE for script in found.get(key, ())),
        post_start=found.get("postStartCommand", ()),
        env={name: value for key in _ENVIRONMENTS for name, value in found.get(key, {}).items()},
        **found.get("hostRequirements", {}),
        notes=report.notes,
    )


def _not_used(entry: Entry, at: Place, reason: str) -> None:
    if not is_null(entry.value):
        at.below(entry).note(f"is not used: {reason}")


def _is_cosmetic(node: Node | None) -> bool:
    """Whether the attributes of ports, or of any port, say only what they are called and how they are announced."""
    if node is None or (isinstance(node, Items) and not node.items):
        return True
    if not isinstance(node, Table):
        return False
    return all(entry.key in _COSMETIC or (_is_cosmetic(entry.value)) for entry in node.entries)


_FILE: Final[Record[ProjectConfig]] = Record(
    {
        "name": Field(Anything(), "For people."),
        "$schema": Field(Anything(), "For editors."),
        **{key: Field(Commands(), "Run once.") for key in _BEFORE},
        "postStartCommand": Field(Commands(), "Run at each start."),
        **{key: Field(Variables(), "Variables of everything that runs.") for key in _ENVIRONMENTS},
        "forwardPorts": Field(Ports(), "Ports that the host leads to."),
        "portsAttributes": Field(Anything(), "What ports are called."),
        "otherPortsAttributes": Field(Anything(), "What other ports are called."),
        **{key: Field(Text(), "Who everything runs as.") for key in _USERS},
        "hostRequirements": Field(_REQUIREMENTS, "What the machine must have."),
    },
    _build,
    open=True,
)
