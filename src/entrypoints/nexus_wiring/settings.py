"""What an administrator can set: defaults, then a TOML file, then ``NEXUS_…`` variables.

Every setting has one name: ``ssh_ports`` in the file is ``NEXUS_SSH_PORTS`` in the environment.
docs/reference/settings.md is written from this module.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import msgspec
from msgspec import Meta

from nexus_core.domain.host_ports import PortRange
from nexus_core.domain.operation import DEADLINES, StepName
from nexus_core.domain.resources import Resources
from nexus_core.errors import Invalid, NexusError
from nexus_core.policy import Policy
from nexus_wiring.places import default_state_dir

PREFIX = "NEXUS_"
ELSEWHERE = frozenset({"NEXUS_URL", "NEXUS_TOKEN", "NEXUS_USER", "NEXUS_CONFIG", "NEXUS_REQUIRE_LXD"})
"""Variables of the command line, the tests and the set-up, which are no settings of the server."""


class InvalidSettings(Invalid):
    """A setting is unknown, of the wrong type or out of range."""

    code: ClassVar[str] = "invalid_settings"
    remedy: ClassVar[str] = "Compare with docs/reference/settings.md."


_HOST = r"^(?!-)[A-Za-z0-9._:-]{1,253}$"
_IPV4 = r"^(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})(\.(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})){3}$"
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # a value that an administrator may choose
_DAY = 86_400


def _says(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting with its default; times are in seconds unless the name says otherwise."""

    listen: Annotated[str, _says("Address and port of the HTTP API.")] = "127.0.0.1:3001"
    state_dir: Annotated[str | None, _says("Directory of `nexus.db` and `admin-token`; unset takes the default.")] = (
        None
    )
    public_host: Annotated[str, _says("Host name that people put into `ssh`.", pattern=_HOST)] = "127.0.0.1"
    ssh_ports: Annotated[str, _says("Range of host ports leased for SSH, one a workspace.")] = "2222-2299"
    service_ports: Annotated[str, _says("Range of host ports leased for forwards of services.")] = "23000-23999"
    service_address: Annotated[
        str, _says("The host's address that forwards can be reached at; 0.0.0.0 stands for every one.", pattern=_IPV4)
    ] = "127.0.0.1"
    default_image: Annotated[str, _says("Image of a workspace that names none.", min_length=1)] = "nexus-base"
    default_cpu: Annotated[int, _says("Cores of a workspace that names none.", ge=1)] = 2
    default_memory: Annotated[str, _says("Memory of a workspace that names none.")] = "4GiB"
    default_disk: Annotated[str, _says("Disk of a workspace that names none.")] = "20GiB"
    creations_at_once: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | None,
        _says(
            "Creations and starts at work at once; more wait. Unset takes as many as there are cores, and at least 2."
        ),
    ] = None
    others_at_once: Annotated[int, _says("Stops, deletions and key rotations at work at once.", ge=1, le=64)] = 8
    bundle_wait: Annotated[float, _says("Time that a creation waits for its repository's upload.", ge=0, le=_DAY)] = (
        300.0
    )
    stop_grace: Annotated[float, _says("Time a container has to stop politely.", ge=0, le=600)] = 10.0
    deadlines: Annotated[
        dict[str, Annotated[float, Meta(gt=0, le=7 * _DAY)]],
        _says("Time a step may take, by its name; those left out keep theirs."),
    ] = {}
    heartbeat_interval: Annotated[float, _says("Time between two questions to LXD.", ge=1, le=3600)] = 10.0
    reconcile_interval: Annotated[float, _says("Time between two reconciliations.", ge=1, le=3600)] = 30.0
    orphan_grace: Annotated[float, _says("Time before a container without a workspace is removed.", ge=0, le=_DAY)] = (
        60.0
    )
    retention_days: Annotated[float, _says("Days that deleted things and old events are kept.", ge=0, le=36500)] = 30.0
    idempotency_hours: Annotated[float, _says("Hours that an Idempotency-Key is kept.", ge=0, le=8760)] = 24.0
    lxd_endpoint: Annotated[str | None, _says("LXD's socket path or https URL; unset takes the local socket.")] = None
    lxd_client_cert: Annotated[str | None, _says("Client certificate for a remote LXD.")] = None
    lxd_client_key: Annotated[str | None, _says("Key of that certificate.")] = None
    lxd_server_cert: Annotated[str | None, _says("The remote LXD's own certificate.")] = None
    lxd_project: Annotated[str, _says("LXD project that holds the containers.", min_length=1)] = "nexus"
    lxd_bridge: Annotated[str, _says("Bridge that the containers hang on.", min_length=1)] = "nexusbr0"
    image_servers: Annotated[
        dict[str, str], _says("Simplestreams servers by the prefix of the images taken from them.")
    ] = msgspec.field(
        default_factory=lambda: {
            "ubuntu": "https://cloud-images.ubuntu.com/releases",
            "images": "https://images.lxd.canonical.com",
        }
    )
    die_at: Annotated[
        str | None, _says("For trials: the fault point at which the server kills itself, the first time it passes it.")
    ] = None
    metrics_open: Annotated[bool, _says("Whether `GET /api/v1/metrics` answers without a token.")] = False
    log_level: Annotated[str, _says("debug, info, warning or error.", pattern="^(debug|info|warning|error)$")] = "info"

    def policy(self) -> Policy:
        """The core's share; raises `NexusError` for a value out of range."""
        return Policy(
            ssh_ports=PortRange.parse(self.ssh_ports),
            service_ports=PortRange.parse(self.service_ports),
            service_address=None if self.service_address == _EVERY_ADDRESS else self.service_address,
            default_image=self.default_image,
            default_resources=Resources(self.default_cpu, self.default_memory, self.default_disk),
            creations_at_once=self.creations_at_once or max(2, os.cpu_count() or 2),
            others_at_once=self.others_at_once,
            stop_grace=self.stop_grace,
            bundle_wait=self.bundle_wait,
            deadlines={**DEADLINES, **{StepName(name): seconds for name, seconds in self.deadlines.items()}},
            heartbeat_interval=self.heartbeat_interval,
            reconcile_interval=self.reconcile_interval,
            orphan_grace=self.orphan_grace,
            retention_days=self.retention_days,
            idempotency_hours=self.idempotency_hours,
        )

    @property
    def state_path(self) -> Path:
        """The state directory, absolute."""
        chosen = Path(self.state_dir).expanduser() if self.state_dir else default_state_dir(os.environ)
        return chosen.absolute()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on; raises `InvalidSettings`."""
        host, colon, port = self.listen.rpartition(":")
        if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
            raise InvalidSettings(f"`listen` is {self.listen!r}", fix="Write it like 127.0.0.1:3001.")
        return host.strip("[]"), int(port)


def load(
    config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> tuple[Settings, list[str]]:
    """The settings and warnings about ``NEXUS_…`` variables that nobody reads.

    The command line's ``overrides`` win over the environment, which wins over the file. Raises
    `InvalidSettings` for an unreadable file, an unknown key, or a value that does not fit.
    """
    values = _from_file(config) if config is not None else {}
    known = set(Settings.__struct_fields__)
    warnings: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in ELSEWHERE:
            continue
        setting = name.removeprefix(PREFIX).lower()
        if setting in known:
            values[setting] = _from_text(setting, environ[name])
        else:
            warnings.append(f"{name} is no setting of Nexus and is ignored")
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    for name in values.keys() - known:
        meant = get_close_matches(name, known, n=1)
        why = f"Did you mean `{meant[0]}`?" if meant else ""
        raise InvalidSettings(f"There is no setting `{name}`", why=why)
    settings = _converted(values)
    _ = settings.address
    if (settings.lxd_client_cert is None) != (settings.lxd_client_key is None):
        raise InvalidSettings("`lxd_client_cert` and `lxd_client_key` go together", fix="Give both or neither.")
    return settings, warnings


def _converted(values: Mapping[str, Any]) -> Settings:
    try:
        settings = msgspec.convert(values, Settings)
        settings.policy()
    except NexusError as exc:
        raise InvalidSettings(f"A setting is wrong: {exc.what}", why=exc.why, fix=exc.fix) from exc
    except (msgspec.ValidationError, ValueError) as exc:
        raise InvalidSettings("A setting is wrong", why=f"{exc}.") from exc
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidSettings(f"The settings file {path} cannot be read", why=f"{exc.strerror}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"The settings file {path} is not TOML", why=f"{exc}.") from exc


def _from_text(setting: str, text: str) -> Any:
    """A variable's value in the setting's own type; tables are written as JSON."""
    kind = get_type_hints(Settings)[setting]
    try:
        if kind in (dict[str, float], dict[str, str]):
            return msgspec.json.decode(text, type=kind)
        return msgspec.convert(text, kind, strict=False)
    except msgspec.MsgspecError as exc:
        raise InvalidSettings(f"{PREFIX}{setting.upper()} is wrong", why=f"{exc}.") from exc
