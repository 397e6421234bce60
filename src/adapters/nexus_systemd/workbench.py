"""The workbench in instances that run systemd."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import CheckType, Health, ServiceSpec
from nexus_core.errors import InstanceStopped, InvalidConfig, ProviderFailed, SetupFailed
from nexus_core.ports.interior import Interior
from nexus_core.ports.workbench import Checkout, Look, Run, ServiceEvent, Source, Workbench
from nexus_systemd.archive import TOOLS, pack, tool, unpack
from nexus_systemd.events import Account, begin_line, lines_of
from nexus_systemd.installed import Installed
from nexus_systemd.looks import WELL, look_from_outside
from nexus_systemd.repository import REPOSITORY, clone
from nexus_systemd.tasks import LOG, carry_out, unit_file
from nexus_systemd.units import INSTEAD_OF, LIFECYCLE, TARGET, environment_of, files_of, scripts_of, unit_of

_INSTALLED: Final = "/etc/nexus/installed"
_FAILED: Final = "/home/dev/.nexus/failed"
_LONGEST_FILE = 256 * 1024
_LONGEST_TAIL = 4000  # characters of output that an error shows: a line may have any length
_LONGEST_LOG = 64 * 1024 * 1024
_SECONDS = 30.0
_STOPPING = 60.0
_TIMED_OUT = 124  # what timeout(1) ends with
_RUNNING = "active"
_FINISHED = "finished"

# Marks where the run begins, unless it has begun; then everything that does not run is started, and what happens is
# told from the first line on. Crashes of earlier runs count no longer. SSH answers before systemd has made the folder
# after a boot; and the file is dev's from its first moment, for services may be writing to it in the next.
_START = f"""
events=/run/nexus/events
[ -d /run/nexus ] || install -d -m 0755 -o dev -g dev /run/nexus
[ -e "$events" ] || runuser -u dev -- touch "$events"
if ! grep -qxF -e "$1" "$events"; then
    rm -rf /run/nexus/crashes
    echo "$1" >>"$events"
    systemctl reset-failed 'nexus-service-*.service' {LIFECYCLE} 2>/dev/null
fi
systemctl start --no-block {TARGET}
exec tail --lines=+1 --follow=name --sleep-interval=0.1 "$events"
"""
_FIRST_OF = """
cd /home/dev/workspace 2>/dev/null || exit
for path; do if [ -e "$path" ]; then printf %s "$path"; exit; fi; done
"""
# What was asked for is no crash, and is not waited after.
_STOP = """
units=()
for name; do units+=("nexus-service-$name.service"); done
systemctl stop "${units[@]}"
code=$?
for name; do rm -f "/run/nexus/finished/$name" "/run/nexus/crashes/$name"; done
exit "$code"
"""
_RESTART = """
systemctl stop "$2"
systemctl reset-failed "$2" 2>/dev/null
rm -f "/run/nexus/crashes/$1" "/run/nexus/finished/$1"
exec systemctl start --no-block "$2"
"""
_TAIL = '[ ! -e "$2" ] || exec tail --lines="$1" -- "$2"'
_STATE = """
if [ -e "/run/nexus/finished/$1" ]; then echo finished; else systemctl show -P ActiveState "$2"; fi
"""
_JOURNAL = 'journalctl --sync; exec journalctl --quiet --all --output=cat --lines="$1" "_SYSTEMD_UNIT=$2"'


class SystemdWorkbench(Workbench):
    """Services as units, scripts as units, logs in the journal: what goes on inside needs no server.

    Works on any `Interior` whose instances run systemd and have bash, git and the user ``dev`` (1000).
    """

    def __init__(self, interior: Interior) -> None:
        self._interior = interior

    async def clone(self, instance: str, source: Source, run: Run) -> Checkout:
        return await clone(self._interior, instance, source, run)

    async def read_files(self, instance: str, paths: Sequence[str]) -> dict[str, str]:
        command = ["/bin/sh", "-c", _FIRST_OF, "first-of", *paths]
        path = (await self._interior.run(instance, command, within=_SECONDS)).output.strip()
        if path not in paths:
            return {}
        try:
            content = await self._interior.read(instance, f"{REPOSITORY}/{path}", limit=_LONGEST_FILE)
        except ProviderFailed as exc:
            raise InvalidConfig(f"{path} cannot be read", why=exc.why or exc.what) from exc
        if content is None:
            return {}
        try:
            return {path: content.decode("utf-8-sig")}
        except UnicodeDecodeError as exc:
            line = content[: exc.start].count(b"\n") + 1
            raise InvalidConfig(f"{path}, line {line}: not text", why="It has bytes that are not UTF-8.") from exc

    async def run_setup(self, instance: str, recipe: Recipe, run: Run) -> None:
        command = f"{TOOLS}/scripts /etc/nexus/setup once"
        files = [tool("run.sh"), tool("scripts.sh"), unit_file("setup", command, run)]
        files += [*environment_of(recipe.env), *scripts_of("setup", recipe.setup)]
        await unpack(self._interior, instance, pack(files), purpose="setup", instead_of=["/etc/nexus/setup"])
        outcome = await carry_out(self._interior, instance, "setup", run)
        if not outcome.succeeded:
            raise await self._setup_failure(instance, recipe.setup, outcome.result)

    async def install(self, instance: str, services: Sequence[ServiceSpec], recipe: Recipe) -> None:
        archive = pack(files_of(services, recipe))
        wanted = Installed.of(archive, services)
        present = Installed.parse(await self._interior.read(instance, _INSTALLED, limit=_LONGEST_FILE))
        if wanted == present:
            return
        changed = [name for name, mark in present.services.items() if wanted.services.get(name) != mark]
        if changed:
            await self.stop(instance, changed)
        old = (*INSTEAD_OF, _INSTALLED)
        await unpack(self._interior, instance, archive, purpose="services", instead_of=old)
        await self._interior.write(instance, _INSTALLED, wanted.text())

    async def start(self, instance: str, run: Run) -> AsyncGenerator[ServiceEvent, None]:
        account = Account(run.id)
        command = ["/bin/bash", "-c", _START, "start", begin_line(run.id)]
        async with aclosing(self._interior.stream(instance, command)) as chunks:
            async for line in lines_of(chunks):
                for event in account.take_in(line):
                    yield event

    async def stop(self, instance: str, services: Sequence[str]) -> None:
        command = ["/bin/bash", "-c", _STOP, "stop", *services]
        done = await self._interior.run(instance, command, within=_STOPPING)
        # 5: one of them is not there, and so does not run.
        if done.exit_code not in (0, 5):
            raise ProviderFailed("Services could not be stopped", why=done.output.strip()[-300:])

    async def restart(self, instance: str, service: str) -> None:
        command = ["/bin/bash", "-c", _RESTART, "restart", service, unit_of(service)]
        done = await self._interior.run(instance, command, within=_STOPPING)
        if done.exit_code != 0:
            raise ProviderFailed(f"Service {service!r} could not be restarted", why=done.output.strip()[-300:])

    async def look(self, instance: str, service: ServiceSpec) -> Look:
        check = service.health_check
        if check.type is CheckType.NONE:
            return await self._look_at_unit(instance, service)
        if check.type in (CheckType.HTTP, CheckType.TCP):
            seen = await look_from_outside(self._interior, instance, service)
            if seen is not None:
                return seen
        command = ["/usr/sbin/runuser", "-u", "dev", "--", f"{TOOLS}/service", "look", service.name]
        try:
            done = await self._interior.run(instance, command, within=check.timeout + 3)
        except TimeoutError:
            return Look(Health.TIMEOUT, f"No answer within {check.timeout:g} seconds")
        if done.exit_code == 0:
            return WELL
        if done.exit_code == _TIMED_OUT:
            return Look(Health.TIMEOUT, f"No answer within {check.timeout:g} seconds")
        said = done.output.strip().splitlines()
        why = f": {said[-1][:200]}" if said else ""
        return Look(Health.UNHEALTHY, f"The check ended with exit code {done.exit_code}{why}")

    async def tail(self, instance: str, service: str | None, *, lines: int) -> str:
        if service is not None:
            command = ["/bin/bash", "-c", _JOURNAL, "journal", str(lines), unit_of(service)]
            return (await self._interior.run(instance, command, within=_SECONDS)).output
        try:
            command = ["/bin/sh", "-c", _TAIL, "tail", str(lines), LOG]
            return (await self._interior.run(instance, command, within=_SECONDS)).output
        except (ProviderFailed, InstanceStopped):
            # It does not run; then the file can be read as a whole, if it is not too long.
            content = await self._interior.read(instance, LOG, limit=_LONGEST_LOG) or b""
        written = content.decode(errors="replace").splitlines(keepends=True)
        return "".join(written[max(0, len(written) - lines) :])

    async def follow(self, instance: str, service: str | None, *, lines: int) -> AsyncGenerator[bytes, None]:
        if service is None:
            command = ["tail", f"--lines={lines}", "--follow=name", "--retry", "--quiet", LOG]
        else:
            unit = f"_SYSTEMD_UNIT={unit_of(service)}"
            command = ["journalctl", "--quiet", "--all", "--output=cat", f"--lines={lines}", "--follow", unit]
        async with aclosing(self._interior.stream(instance, command)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _look_at_unit(self, instance: str, service: ServiceSpec) -> Look:
        command = ["/bin/bash", "-c", _STATE, "state", service.name, unit_of(service.name)]
        try:
            state = (await self._interior.run(instance, command, within=_SECONDS)).output.strip()
        except TimeoutError:
            return Look(Health.TIMEOUT, "systemd inside did not answer")
        if state == _FINISHED:
            return Look(Health.UNKNOWN)
        return WELL if state == _RUNNING else Look(Health.UNHEALTHY, f"Its command does not run ({state})")

    async def _setup_failure(self, instance: str, scripts: Sequence[str], result: str) -> SetupFailed:
        content = await self._interior.read(instance, _FAILED, limit=_LONGEST_FILE) or b""
        number, _, code = content.decode(errors="replace").strip().partition(" ")
        tail = _of_last_script(await self.tail(instance, None, lines=40))
        if not number.isdecimal() or int(number) >= len(scripts):
            return SetupFailed(
                "The set-up was broken off", why=f"systemd says: {result}. The end of its output:\n{tail}\n"
            )
        script = scripts[int(number)].strip()
        first = next((line for line in script.splitlines() if not re.match(r"\s*(#|$)", line)), script)[:200]
        return SetupFailed(
            f"The set-up script {int(number) + 1} of {len(scripts)} (`{first}`) ended with exit code {code}",
            why=f"The end of its output:\n{tail}\n" if tail else "It wrote nothing.",
        )


def _of_last_script(text: str) -> str:
    """The last lines of a log that the last script wrote."""
    lines = text.splitlines()
    while lines and lines[-1].startswith("==> "):
        lines.pop()
    begin = max((index + 1 for index, line in enumerate(lines) if line.startswith("==> ")), default=0)
    return "\n".join(lines[begin:][-20:])[-_LONGEST_TAIL:]
