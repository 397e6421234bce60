"""What is recognised in one folder of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Files: TypeAlias = Mapping[str, str]
"""The files of one folder by their path within it, with the text of those that matter, and else with none."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A service as it probably runs.

    ``elsewhere`` is the command on another port, which stands for ``{port}`` in it; None where the port is
    told by the variable PORT in ``env``. Without a port, a service is a worker or it is not known where it listens.
    ``remark`` is for the person who looks it over.
    """

    name: str
    command: str
    port: int | None = None
    elsewhere: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A kind of project: what it is called, what it needs, and what it runs.

    ``packages`` are Debian's; ``tools`` are shell lines that any folder may need and that run once, before the
    ``setup`` of this one.
    """

    what: str
    packages: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    services: tuple[Proposal, ...] = ()
    remarks: tuple[str, ...] = ()
