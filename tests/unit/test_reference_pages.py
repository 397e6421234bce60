"""The pages under docs/reference that are made from the code are what the code says now."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_cli import error_reference, reference
from nexus_cli.commands import TABLE
from nexus_core.errors import NexusError
from nexus_prometheus import reference as metrics_reference
from nexus_wiring import reference as settings_reference
from nexus_wiring.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "reference"
SOURCES = [path for root in ("src", "src/adapters", "src/entrypoints") for path in (ROOT / root).glob("nexus_*")]


@pytest.mark.parametrize(
    ("name", "made", "module"),
    [
        ("cli.md", reference.page, "nexus_cli.reference"),
        ("errors.md", error_reference.page, "nexus_cli.error_reference"),
        ("metrics.md", metrics_reference.page, "nexus_prometheus.reference"),
        ("settings.md", settings_reference.page, "nexus_wiring.reference"),
    ],
)
def test_the_page_is_up_to_date(name: str, made: Callable[[], str], module: str) -> None:
    assert (PAGES / name).read_text() == made(), f"run: python -m {module} > docs/reference/{name}"


def test_every_error_of_the_program_has_a_heading() -> None:
    for package in SOURCES:
        for module in pkgutil.walk_packages([str(package)], f"{package.name}."):
            importlib.import_module(module.name)
    headings = set(re.findall(r"^### `(\w+)`$", (PAGES / "errors.md").read_text(), re.MULTILINE))
    own = [error for error in family(NexusError) if error.__module__.startswith("nexus_")]
    assert {error.code for error in own} <= headings
    # A page that lists them by module would miss errors that an adapter defines.
    assert {error.__module__.partition(".")[0] for error in own} <= set(error_reference.PACKAGES)


def family(error: type[NexusError]) -> list[type[NexusError]]:
    return [error, *(below for child in error.__subclasses__() for below in family(child))]


def test_every_command_and_setting_is_there() -> None:
    page = (PAGES / "cli.md").read_text()
    assert all(f"### nexus {command.name}\n" in page for command in TABLE)
    page = (PAGES / "settings.md").read_text()
    assert all(f"| `{name}`<br>" in page for name in Settings.__struct_fields__)
