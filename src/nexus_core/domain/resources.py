"""How much of a machine a workspace gets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nexus_core.errors import InvalidRequest

_UNITS: dict[str, int] = {
    **{f"{prefix}iB": int(1024**power) for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": int(1000**power) for power, prefix in enumerate("KMGT", start=1)},
}
SIZE = r"[1-9][0-9]{0,11}[KMGT]i?B"
_SIZE = re.compile(r"(?P<number>[1-9][0-9]{0,11})(?P<unit>[KMGT]i?B)")
MIB = 1024**2

MAX_CPU = 512
MIN_MEMORY = 64 * MIB  # beneath this systemd and sshd do not come up
MIN_DISK = 64 * MIB
MAX_SIZE = 1024 * _UNITS["TiB"]


def size_in_bytes(text: str, *, field: str = "$") -> int:
    """The number of bytes that ``4GiB`` or ``500MB`` stands for, else `InvalidRequest` naming ``field``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            f"{text[:40]!r} is not a size",
            fix="Write a whole number and a unit: KiB, MiB, GiB, TiB, KB, MB, GB or TB.",
            details={field: "not a size such as 4GiB"},
        )
    return int(match["number"]) * _UNITS[str(match["unit"])]


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits enforced on the container: whole cores, and memory and disk as sizes with a unit."""

    cpu: int
    memory: str
    disk: str

    def __post_init__(self) -> None:
        if not 1 <= self.cpu <= MAX_CPU:
            raise InvalidRequest(
                f"{self.cpu} cores cannot be had",
                details={"$.resources.cpu": f"must be between 1 and {MAX_CPU}"},
            )
        for name, least in (("memory", MIN_MEMORY), ("disk", MIN_DISK)):
            field = f"$.resources.{name}"
            size = size_in_bytes(getattr(self, name), field=field)
            if not least <= size <= MAX_SIZE:
                raise InvalidRequest(
                    f"A workspace cannot have {getattr(self, name)} of {name}",
                    details={field: f"must be between {least // MIB}MiB and 1024TiB"},
                )

    @property
    def memory_bytes(self) -> int:
        return size_in_bytes(self.memory)

    @property
    def disk_bytes(self) -> int:
        return size_in_bytes(self.disk)
