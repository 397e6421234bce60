"""What the host's kernel must allow before dozens of workspaces run on it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nexus_core.domain.finding import Area, Finding
from nexus_core.ports.clock import Clock
from nexus_core.ports.examiner import Examiner

LIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "fs.inotify.max_user_instances": 8192,
        "fs.inotify.max_user_watches": 1048576,
        "fs.inotify.max_queued_events": 65536,
        "kernel.keys.maxkeys": 20000,
        "kernel.keys.maxbytes": 4000000,
        "net.ipv4.ip_forward": 1,
        "net.ipv4.neigh.default.gc_thresh1": 2048,
        "net.ipv4.neigh.default.gc_thresh2": 8192,
        "net.ipv4.neigh.default.gc_thresh3": 16384,
    }
)
"""The least that each may be; scripts/setup-host sets the same, and a test compares."""

_WITHOUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fs.inotify": 'the thirteenth workspace or so dies at its start with "Too many open files"',
        "kernel.keys": 'some dozens of workspaces at once die at their start with "Disk quota exceeded"',
        "net.ipv4.ip_forward": "workspaces reach no network",
        "net.ipv4.neigh": "a thousand workspaces overflow the table of neighbours",
    }
)
_AREA: Final = Area("host")
_FILES: Final = 4096
_AHEAD: Final = 60.0  # seconds that a file may be newer than now: file systems of other machines have their own time
_SETUP: Final = "`make setup` as root"


class HostExaminer(Examiner):
    """Looks at kernel limits, the open-file limit, lxcfs and the clock; raises kernel limits, as root.

    ``written`` are files that this server wrote: none of them can be newer than now.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        written: Sequence[Path],
        proc: Path = Path("/proc"),
        lxcfs: Sequence[Path] = (Path("/var/lib/lxcfs"), Path("/var/snap/lxd/common/var/lib/lxcfs")),
    ) -> None:
        self._clock = clock
        self._written = written
        self._proc = proc
        self._lxcfs = lxcfs

    async def examine(self) -> Sequence[Finding]:
        low = list(self._low())
        fine = _AREA.ok("kernel limits", "high enough")
        return [*(low or [fine]), _open_files(), self._lxcfs_mounted(), self._clock_sane()]

    async def mend(self, finding: Finding) -> Finding:
        limit, least = finding.subject, LIMITS[finding.subject]
        try:
            present = self._present(limit)
            if present is not None and present < least:
                self._setting(limit).write_text(f"{least}\n", encoding="ascii")
        except OSError as exc:
            return finding.not_mended(f"could not be raised: {exc.strerror}")
        return finding.mended(f"is {least} from now on; {_SETUP} keeps it so after a reboot")

    def _low(self) -> Iterator[Finding]:
        for limit, least in LIMITS.items():
            try:
                present = self._present(limit)
            except (OSError, ValueError) as exc:
                yield _AREA.warning(limit, f"could not be looked at: {exc}", f"Run {_SETUP}.")
                continue
            if present is not None and present < least:
                without = next(text for beginning, text in _WITHOUT.items() if limit.startswith(beginning))
                says = f"is {present}, and {least} are needed: {without}"
                fix = f"`sysctl -w {limit}={least}` on the machine whose kernel it is; {_SETUP} sets it for good."
                yield _AREA.failure(limit, says, fix, mend="raise" if os.geteuid() == 0 else None)

    def _present(self, limit: str) -> int | None:
        """The limit as it is; None where this kernel, or this container, has none."""
        try:
            return int(self._setting(limit).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def _setting(self, limit: str) -> Path:
        return self._proc / "sys" / limit.replace(".", "/")

    def _lxcfs_mounted(self) -> Finding:
        if any((place / "proc/meminfo").exists() for place in self._lxcfs):
            return _AREA.ok("lxcfs", "is mounted")
        says = "is not mounted: `free` and `top` in a workspace show the whole machine"
        return _AREA.warning("lxcfs", says, f"Run {_SETUP}; workspaces see it from their next start on.")

    def _clock_sane(self) -> Finding:
        now = self._clock.now()
        newest = max((moment for file in self._written if (moment := _written_at(file)) is not None), default=0.0)
        ahead = newest - now.timestamp()
        if ahead > _AHEAD:
            says = f"was set back: it is {now:%Y-%m-%d %H:%M} UTC, and files were written {ahead:.0f} s later"
            return _AREA.warning("clock", says, "Set the host's clock (`timedatectl`); tokens and retention go by it.")
        return _AREA.ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def _open_files() -> Finding:
    """Whether a server that is started here may open files enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= _FILES:
        return _AREA.ok("open files", "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard} to a process")
    fix = f"Set `LimitNOFILE={_FILES}` or more in the server's unit, or `ulimit -n` where it is started by hand."
    return _AREA.warning("open files", f"up to {hard} to a process: few for many clients at once", fix)


def _written_at(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
