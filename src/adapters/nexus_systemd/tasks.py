"""Work that goes on inside by itself, as a unit that is begun once for each run: the clone and the set-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexus_core.errors import DeadlineExceeded, ProviderFailed
from nexus_core.ports.interior import Interior
from nexus_core.ports.workbench import Run
from nexus_systemd.archive import File

LOG: Final = "/var/log/nexus/setup.log"
_MARGIN = 30.0

# A unit that this run has begun is joined, or its end told; the one of another run is another unit.
_JOIN = """
unit=$1
[ "$(systemctl show -P ActiveState "$unit")" = failed ] || systemctl start "$unit" 2>/dev/null
systemctl show -p ActiveState -p Result -p ExecMainStatus "$unit"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the work was done."""

    succeeded: bool
    result: str


def unit_file(kind: str, command: str, run: Run) -> File:
    """The template of the unit for this kind of work; it ends itself when it is out of time."""
    text = f"""\
[Unit]
Description=Nexus: {kind}
After=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
User=dev
WorkingDirectory=/home/dev
Environment=LANG=C.UTF-8
ExecStart={command}
StandardOutput=append:{LOG}
StandardError=inherit
TimeoutStartSec={max(1, round(run.within))}
TimeoutStopSec=5s
"""
    return File(f"/etc/systemd/system/nexus-{kind}@.service", text)


async def carry_out(interior: Interior, instance: str, kind: str, run: Run) -> Outcome:
    """Begin the work or join it, and tell how it ended; raises `DeadlineExceeded` when it was out of time."""
    unit = f"nexus-{kind}@{run.id}.service"
    command = ["/bin/bash", "-c", _JOIN, "join", unit]
    try:
        done = await interior.run(instance, command, within=run.within + _MARGIN)
    except TimeoutError as exc:
        raise DeadlineExceeded(f"The {kind} did not end within {run.within:g} seconds") from exc
    said = settings_in(done.output)
    if "Result" not in said:
        raise ProviderFailed(
            f"How the {kind} ended is not known", why=f"systemd inside said: {done.output.strip()[-200:]}"
        )
    if said["Result"] == "timeout":
        raise DeadlineExceeded(f"The {kind} did not end within {run.within:g} seconds")
    return Outcome(said["ActiveState"] == "active", said["Result"])


def settings_in(text: str) -> dict[str, str]:
    """What lines of ``name=value`` say."""
    said: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            said[name] = value
    return said
