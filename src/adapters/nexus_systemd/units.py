"""Services as systemd units: gated by health inside, in order also while no server is there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import CheckType, ServiceSpec
from nexus_systemd.archive import DEV, TOOLS, File, tool

TARGET: Final = "nexus-services.target"
LIFECYCLE: Final = "nexus-lifecycle.service"
_ETC: Final = "/etc/nexus"
_SYSTEM: Final = "/etc/systemd/system"

INSTEAD_OF: Final = (
    f"{_ETC}/services",
    f"{_ETC}/post_start",
    f"{_ETC}/pre_stop",
    f"{_ETC}/env",
    f"{_ETC}/redirect.nft",
    f"{_SYSTEM}/{TARGET}.wants",
    f"{_SYSTEM}/{LIFECYCLE}",
)
"""What an earlier installation left, to be removed before a new one."""

_TARGET = """\
[Unit]
Description=The services of this workspace

[Install]
WantedBy=multi-user.target
"""
_RELAY_SOCKET = """\
[Unit]
Description=Port %i of 127.0.0.1, for a service that listens on ::1 alone

[Socket]
ListenStream=127.0.0.1:%i
TriggerLimitIntervalSec=0
"""
_RELAY_SERVICE = """\
[Unit]
Description=Relay to a service that listens on ::1 alone
Requires=nexus-relay@%i.socket
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/nexus/relay %i
User=dev
"""
_REDIRECT = """\
[Unit]
Description=Ways from the host's forwards to services that listen on localhost only
DefaultDependencies=no
After=nexus-network.service systemd-sysctl.service
Before=multi-user.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet && exec nft -f /etc/nexus/redirect.nft'
"""


def unit_of(service: str) -> str:
    """The name of a service's unit."""
    return f"nexus-service-{service}.service"


def files_of(services: Sequence[ServiceSpec], recipe: Recipe) -> Iterator[File]:
    """Every file that these services and scripts need inside an instance."""
    run = [one for one in services if one.command is not None]
    yield from (tool(name) for name in ("service.sh", "run.sh", "scripts.sh", "lifecycle.sh"))
    yield File("/etc/tmpfiles.d/nexus.conf", "d /run/nexus 0755 dev dev\n")
    yield from environment_of(recipe.env)
    yield File(f"{_SYSTEM}/{TARGET}", _TARGET)
    yield _wanted_by("multi-user.target", TARGET)
    for service in run:
        yield from _service(service, {one.name for one in run})
    yield from scripts_of("post_start", recipe.post_start)
    yield from scripts_of("pre_stop", recipe.pre_stop)
    yield File(f"{_SYSTEM}/{LIFECYCLE}", _lifecycle([one.name for one in run]))
    yield _wanted_by(TARGET, LIFECYCLE)
    ports = sorted(one.port for one in services if one.port is not None)
    if ports:
        yield File(f"{_ETC}/redirect.nft", _redirect(ports))
        yield File(f"{_SYSTEM}/nexus-redirect.service", _REDIRECT)
        yield _wanted_by(TARGET, "nexus-redirect.service")
        yield tool("relay.py")
        yield File(f"{_SYSTEM}/nexus-relay@.socket", _RELAY_SOCKET)
        yield File(f"{_SYSTEM}/nexus-relay@.service", _RELAY_SERVICE)


def scripts_of(folder: str, texts: Sequence[str]) -> Iterator[File]:
    """Scripts in the order in which they are to run."""
    for number, text in enumerate(texts):
        yield File(f"{_ETC}/{folder}/{number:03}.script", text, mode=0o700, uid=DEV)


def environment_of(env: Mapping[str, str]) -> Iterator[File]:
    """Variables for scripts, services and logins."""
    if env:
        yield File(f"{_ETC}/env", _assignments(env), mode=0o600, uid=DEV)
        text = "set -a\n[ ! -r /etc/nexus/env ] || . /etc/nexus/env\nset +a\n"
        yield File("/etc/profile.d/nexus.sh", text)


def _service(service: ServiceSpec, known: set[str]) -> Iterator[File]:
    folder = f"{_ETC}/services/{service.name}"
    yield File(f"{_SYSTEM}/{unit_of(service.name)}", _unit(service, known))
    yield _wanted_by(TARGET, unit_of(service.name))
    yield File(f"{folder}/settings", _settings(service, known))
    yield File(f"{folder}/command", service.command or "", mode=0o700, uid=DEV)
    check = service.health_check
    if check.command is not None:
        yield File(f"{folder}/check-command", check.command, mode=0o700, uid=DEV)
        yield File(f"{folder}/check", f"#!/bin/sh\nexec {TOOLS}/run {folder}/check-command exec\n", mode=0o755)
    if service.env:
        yield File(f"{folder}/env", _assignments(service.env), mode=0o600, uid=DEV)


def _unit(service: ServiceSpec, known: set[str]) -> str:
    name = service.name
    after = " ".join(["network.target", "nexus-redirect.service", *(unit_of(one) for one in _needs(service, known))])
    relay = f"ExecStartPost=+-{TOOLS}/service relay {name}\n" if service.port is not None else ""
    no_relay = (
        f"ExecStopPost=+-/bin/systemctl stop --no-block nexus-relay@{service.port}.socket "
        f"nexus-relay@{service.port}.service\n"
        if service.port is not None
        else ""
    )
    # The order of stopping is that of starting, reversed. What it waits for while starting is not time lost:
    # the checks know when it is too long. An end by SIGTERM that systemd did not ask for is a failure as well.
    return f"""\
[Unit]
Description=Service {name} of this workspace
After={after}
StartLimitIntervalSec=0

[Service]
Type=exec
User=dev
WorkingDirectory=-/home/dev/workspace
Environment=LANG=C.UTF-8
ExecCondition={TOOLS}/service due {name}
ExecStartPre={TOOLS}/service wait {name}
ExecStart={TOOLS}/run {_ETC}/services/{name}/command exec
ExecStartPost={TOOLS}/service gate {name}
{relay}ExecStopPost={TOOLS}/service ended {name}
{no_relay}LogRateLimitIntervalSec=0
Restart=on-failure
RestartSec=100ms
RestartForceExitStatus=SIGHUP SIGINT SIGTERM SIGPIPE
TimeoutStartSec=infinity
TimeoutStopSec=8s
"""


def _settings(service: ServiceSpec, known: set[str]) -> str:
    check = service.health_check
    kind = "exec" if check.type is CheckType.CUSTOM else str(check.type)
    expected = "" if check.expected_status is None else str(check.expected_status)
    return (
        f"depends=({' '.join(map(shlex.quote, _needs(service, known)))})\n"
        f"kind={kind} port={service.port or ''} path={shlex.quote(check.path)} expected={expected}\n"
        f"timeout={check.timeout:g} retries={check.retries}\n"
        f"interval_us={round(check.interval * 1e6)} start_period_us={round(check.start_period * 1e6)}\n"
    )


def _needs(service: ServiceSpec, known: set[str]) -> list[str]:
    """What it depends on and is run here; for the rest nothing can be waited for."""
    return [one for one in dict.fromkeys(service.depends_on) if one in known]


def _lifecycle(services: Sequence[str]) -> str:
    # Also without any script: its end is what tells that everything is up.
    after = " ".join(["nexus-redirect.service", *(unit_of(one) for one in services)])
    return f"""\
[Unit]
Description=What is done after the services of this workspace have started, and before they stop
After={after}

[Service]
Type=oneshot
RemainAfterExit=yes
User=dev
Environment=LANG=C.UTF-8
ExecStart={TOOLS}/lifecycle post_start {" ".join(services)}
ExecStop=-{TOOLS}/lifecycle pre_stop
StandardOutput=append:/var/log/nexus/setup.log
StandardError=inherit
TimeoutStartSec=infinity
TimeoutStopSec=8s
"""


def _assignments(env: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items())


def _redirect(ports: Sequence[int]) -> str:
    return f"""\
table ip nexus
delete table ip nexus
table ip nexus {{
    chain arriving {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "eth0" tcp dport {{ {", ".join(map(str, ports))} }} dnat to 127.0.0.1
    }}
}}
"""


def _wanted_by(target: str, unit: str) -> File:
    return File(f"{_SYSTEM}/{target}.wants/{unit}", link=f"../{unit}")
