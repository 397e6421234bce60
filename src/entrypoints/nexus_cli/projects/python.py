"""Python projects, told by pyproject.toml, requirements.txt or manage.py."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from nexus_cli.projects.found import Files, Found, Proposal

_TELLING: Final = ("pyproject.toml", "requirements.txt", "manage.py")
_NAME: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_APPLICATION: Final = r"^(?P<name>\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?{kind}\("
_VENV: Final = ".venv/bin/"


def recognise(files: Files) -> Found | None:
    """What the folder's files say; None where none of them is Python's."""
    if not any(name in files for name in _TELLING):
        return None
    project = _toml(files.get("pyproject.toml", ""))
    dependencies = _dependencies(files, project)
    if "uv.lock" in files:
        return _found(files, dependencies, "uv", "~/.local/bin/uv run ", ("~/.local/bin/uv sync",))
    if "poetry.lock" in files or "poetry" in _table(project, "tool"):
        return _found(files, dependencies, "poetry", "~/.local/bin/poetry run ", ("~/.local/bin/poetry install",))
    setup = ["python3 -m venv .venv"]
    if "requirements.txt" in files:
        setup.append(f"{_VENV}pip install -r requirements.txt")
    elif "build-system" in project or "project" in project:
        setup.append(f"{_VENV}pip install -e .")
    return _found(files, dependencies, "pip", _VENV, tuple(setup))


def _found(files: Files, dependencies: set[str], program: str, prefix: str, setup: tuple[str, ...]) -> Found:
    lines = list(setup)
    remarks: list[str] = []
    services: list[Proposal] = []
    if "manage.py" in files:
        title = "Django"
        lines.append(f"{prefix}python manage.py migrate")
        command = f"{prefix}python manage.py runserver 127.0.0.1:{{port}}"
        services.append(Proposal("web", command.format(port=8000), 8000, command))
    elif "fastapi" in dependencies:
        title = "FastAPI"
        where, remark = _application(files, "FastAPI")
        if not dependencies & {"uvicorn", "fastapi[standard]", "fastapi[all]"}:
            remarks.append("uvicorn is not among the dependencies, but is needed to run it.")
        command = f"{prefix}uvicorn {where} --host 127.0.0.1 --port {{port}} --reload"
        services.append(Proposal("web", command.format(port=8000), 8000, command, remark=remark))
    elif "flask" in dependencies:
        title = "Flask"
        where, remark = _application(files, "Flask")
        command = f"{prefix}flask --app {where} run --host 127.0.0.1 --port {{port}} --debug"
        services.append(Proposal("web", command.format(port=5000), 5000, command, remark=remark))
    else:
        title = "Python"
    return Found(
        what=f"{title} ({program}, {next(name for name in _TELLING if name in files)})",
        packages=("python3-venv",) if program == "pip" else ("pipx",),
        tools=() if program == "pip" else (f"pipx install {program}",),
        setup=tuple(lines),
        services=tuple(services),
        remarks=tuple(remarks),
    )


def _application(files: Files, kind: str) -> tuple[str, str]:
    """Where the application object is, as ``module:name``, and a remark if that is a guess."""
    assigned = re.compile(_APPLICATION.format(kind=kind), re.MULTILINE)
    for path, text in sorted(files.items()):
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not path.endswith(".py"):
            continue
        if found := assigned.search(text):
            return f"{module}:{found['name']}", ""
        if kind == "Flask" and re.search(r"^def create_app\(", text, re.MULTILINE):
            return f"{module}:create_app", ""
    return "main:app", f"Where the {kind} application is was not found: `main:app` is a guess."


def _dependencies(files: Files, project: dict[str, Any]) -> set[str]:
    """The names of what it depends on, in lower case, with and without their extras."""
    listed: list[str] = files.get("requirements.txt", "").splitlines()
    tables = [_table(project, "project").get("dependencies")]
    tables += [*_table(project, "project", "optional-dependencies").values()]
    tables += [*_table(project, "dependency-groups").values()]
    for table in tables:
        listed += [one for one in table if isinstance(one, str)] if isinstance(table, list) else []
    listed += _table(project, "tool", "poetry", "dependencies")
    names: set[str] = set()
    for line in listed:
        if found := _NAME.match(line):
            name = found[1].lower()
            extras = re.match(r"\s*\[([^\]]*)\]", line[found.end() :])
            names |= {name, *(f"{name}[{one.strip().lower()}]" for one in (extras[1] if extras else "").split(","))}
    return names


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
