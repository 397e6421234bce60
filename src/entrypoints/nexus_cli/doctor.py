"""``nexus doctor``: whether everything a server stands on is well, and how to mend what is not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nexus_cli.exit_codes import ExitCode
from nexus_cli.screen import answer_json, console, note, visible
from nexus_cli.serve import cannot_serve, wire
from nexus_core.domain.finding import Finding, Verdict
from nexus_core.errors import NexusError
from nexus_wiring.settings import load

if TYPE_CHECKING:
    from nexus_core.usecases.examine import Diagnosis
    from nexus_wiring.container import Container

_MARKS = {Verdict.OK: ("✓", "ok  "), Verdict.WARNING: ("!", "warn"), Verdict.FAILURE: ("✗", "FAIL")}
_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "bold red"}


def doctor(
    *,
    fix: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Mend what is safe to mend, and say what was done.")
    ] = False,
    state_dir: Annotated[Path | None, Parameter(help="The server's state directory.")] = None,
    config: Annotated[Path | None, Parameter(env_var="NEXUS_CONFIG", help="The server's settings file.")] = None,
    json: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print JSON, and errors as JSON too.")
    ] = False,
) -> int:
    """Examine everything that a server stands on, and say how to mend what is not well."""
    try:
        chosen = {"state_dir": None if state_dir is None else str(state_dir)}
        settings, warnings = load(config, os.environ, chosen)
        diagnosis = asyncio.run(_diagnosed(wire(settings), mend=fix))
    except NexusError as error:
        raise cannot_serve(error) from error
    if json:
        answer_json(_as_json(diagnosis))
    else:
        for warning in warnings:
            note(f"{warning}.")
        _show(diagnosis)
    return ExitCode.OK if diagnosis.is_well else ExitCode.FAILED


async def _diagnosed(container: Container, *, mend: bool) -> Diagnosis:
    from nexus_wiring.doctor import diagnose

    return await diagnose(container, mend=mend)


def _as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "well": diagnosis.is_well,
        "counts": {str(verdict): diagnosis.count(verdict) for verdict in Verdict},
        "mended": [_one_as_json(one) for one in diagnosis.mended],
        "findings": [_one_as_json(one) for one in diagnosis.findings],
    }


def _one_as_json(finding: Finding) -> dict[str, Any]:
    shown = asdict(finding)
    return {**shown, "verdict": str(finding.verdict), "mend": finding.mend is not None}


def _show(diagnosis: Diagnosis) -> None:
    if diagnosis.mended:
        _show_lines("mended", diagnosis.mended, mended=True)
        console().print()
    for area, found in groupby(_by_area(diagnosis.findings), lambda one: one.area):
        _show_lines(area, list(found))
    console().print()
    counts = [f"{diagnosis.count(verdict)} {verdict}" for verdict in Verdict]
    mendable = sum(one.mend is not None for one in diagnosis.findings)
    rest = f"; `nexus doctor --fix` mends {mendable} of them" if mendable else ""
    style = "green" if diagnosis.is_well else "bold red"
    console().print(visible(f"{', '.join(counts)}{rest}"), style=style)


def _by_area(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with those of an area together, the areas in the order in which they first come."""
    areas = list(dict.fromkeys(one.area for one in findings))
    return sorted(findings, key=lambda one: areas.index(one.area))


def _show_lines(title: str, findings: Sequence[Finding], *, mended: bool = False) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    out = console()
    out.print(title, style="bold")
    marks = 0 if _is_for_people() else 1
    subjects = [visible(f"{one.area}: {one.subject}" if mended else one.subject) for one in findings]
    width = max(map(cell_len, subjects))
    for one, subject in zip(findings, subjects, strict=True):
        mark = _MARKS[one.verdict][marks]
        padding = " " * (width - cell_len(subject) + 2)
        out.print(Text.assemble("  ", (mark, _STYLES[one.verdict]), f" {subject}{padding}{visible(one.says)}"))
        if one.fix:
            out.print(Text.assemble(" " * (len(mark) + 3), ("fix: ", "bold"), visible(one.fix)))


def _is_for_people() -> bool:
    """Whether it goes to a terminal that can show any character."""
    return sys.stdout.isatty() and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
