"""The files of a repository that say what it is, read from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nexus_cli.projects.found import Files

_READ: Final = frozenset(
    {
        "package.json",
        "pyproject.toml",
        "requirements.txt",
        "go.mod",
        "Gemfile",
        ".ruby-version",
        ".nvmrc",
        ".node-version",
    }
)
_PROGRAMS: Final = frozenset({".py", ".go"})
_LONGEST: Final = 262_144
_MOST: Final = 500
"""So many entries of a folder are looked at; nobody keeps more beside what says what it is."""
_NOT_LOOKED_AT: Final = frozenset(
    {"node_modules", "vendor", "dist", "build", "target", "docs", "test", "tests", "venv"}
)


def read(root: Path) -> dict[str, Files]:
    """The files of the folder, under the empty name, and of those one level below it; raises `OSError`."""
    folders: dict[str, Files] = {"": _files(root)}
    for child in _entries(root):
        if child.is_dir() and not child.name.startswith(".") and child.name not in _NOT_LOOKED_AT:
            try:
                folders[child.name] = _files(child)
            except OSError:  # one that may not be read says nothing, and is no reason not to look at the others
                continue
    return folders


def _files(folder: Path) -> Files:
    files = {entry.name: _text(entry) for entry in _entries(folder) if entry.is_file()}
    for path in sorted({*folder.glob("*/main.py"), *folder.glob("*/app.py"), *folder.glob("*/__init__.py")}):
        files[str(path.relative_to(folder))] = _text(path)
    for path in sorted(folder.glob("cmd/*/main.go")):
        files[str(path.relative_to(folder))] = _text(path)
    return files


def _entries(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir())[:_MOST]


def _text(path: Path) -> str:
    if path.name not in _READ and path.suffix not in _PROGRAMS:
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:  # unreadable or a dangling link: its name alone counts
        return ""
