"""The layout holds itself: packages, contracts, module sizes, and pages made from the code."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from nexus_core.domain import lifecycle

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def packages() -> set[str]:
    return {
        folder.parent.name
        for root in ("src", "src/adapters", "src/entrypoints")
        for folder in (ROOT / root).glob("*/__init__.py")
    }


def test_every_package_is_under_the_import_contracts() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = set(re.findall(r"nexus_\w+", contracts["importlinter:contract:rings"]["layers"]))
    roots = set(contracts["importlinter"]["root_packages"].split())
    assert packages() == layers == roots


def test_every_package_is_in_the_wheel_and_measured() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = {Path(path).name for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]}
    assert packages() == included == set(project["tool"]["coverage"]["run"]["source_pkgs"])


def test_source_roots_are_not_packages() -> None:
    assert not list((ROOT / "src").glob("*/__init__.py"))[1:]
    for root in ("src/adapters", "src/entrypoints"):
        assert not (ROOT / root / "__init__.py").exists()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "over 400 lines needs a reason; there is none so far"
    if text.strip():
        assert text.startswith('"""'), "a module begins with what it is"
    assert not re.search(r"helper|util|manager|_base|_impl", path.stem)


def test_every_ignore_has_its_reason() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("src", "tests", "scripts")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"#\s*(noqa|type: ignore|pyright: ignore|pragma: no)(?![^#]*#\s*\w)", line)
    ]
    assert [line for line in lines if "re.search" not in line] == []


def test_the_lifecycle_diagram_is_the_table() -> None:
    assert lifecycle.diagram() in (ROOT / "docs" / "architecture.md").read_text()


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_lock_file_names_hashes_and_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--index-url" not in lock
    assert "://" not in lock
    pinned = re.findall(r"^[A-Za-z0-9_.-]+(?:\[\w+\])?==.*(?:\n {4}--hash=sha256:[0-9a-f]{64}.*)+", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^\S+==", lock, re.MULTILINE))


def test_the_targets_the_readme_names_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"`?make (\w+)", readme))
    assert {"setup", "demo", "test"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", "--directory", ROOT, target], check=True, capture_output=True)
