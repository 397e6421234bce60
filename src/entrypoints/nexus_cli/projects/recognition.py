"""All kinds of projects in a repository, put together: folders next to each other, each on ports of its own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from nexus_cli.projects import go, node, pages, python, rails
from nexus_cli.projects.found import Files, Found, Proposal

_KINDS: Final = (rails.recognise, python.recognise, go.recognise, node.recognise)
# Beside a project in the top folder only these are looked at: the others are rarely run by themselves.
_PARTS: Final = frozenset({"frontend", "backend", "client", "server", "web", "api", "app", "ui"})


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is known of a repository; ``kinds`` and ``remarks`` are for people."""

    kinds: tuple[str, ...]
    setup: tuple[str, ...]
    services: tuple[Proposal, ...]
    remarks: tuple[str, ...]


def recognise(folders: Mapping[str, Files]) -> Recognised:
    """What the repository is: ``folders`` has its top folder under the empty name, and those below by name."""
    top = folders.get("", {})
    found = [("", one) for one in _kinds(top)]
    if not (found and node.holds_others(top)):
        below = [name for name in sorted(folders) if name and (not found or name.lower() in _PARTS)]
        found += [(name, one) for name in below for one in _kinds(folders[name])]
    if not found and (plain := pages.recognise(top)):
        found = [("", plain)]
    packages = _once(package for _, one in found for package in one.packages)
    setup = [f"sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"] if packages else []
    setup += _once(line for _, one in found for line in one.tools)
    setup += [_within(folder, line) for folder, one in found for line in one.setup]
    return Recognised(
        kinds=tuple(f"{one.what} in {folder}/" if folder else one.what for folder, one in found),
        setup=tuple(setup),
        services=_services(found),
        remarks=tuple(_once(f"{folder}/: {line}" if folder else line for folder, one in found for line in one.remarks)),
    )


def _kinds(files: Files) -> list[Found]:
    return [one for one in (kind(files) for kind in _KINDS) if one is not None]


def _services(found: Iterable[tuple[str, Found]]) -> tuple[Proposal, ...]:
    """Every service, none with the name or port of another."""
    taken: dict[str, Proposal] = {}
    ports: set[int] = set()
    for folder, one in found:
        for service in one.services:
            name = _free_name(_name(folder, service), taken)
            moved = _on_free_port(service, ports)
            if moved.port is not None:
                ports.add(moved.port)
            taken[name] = replace(moved, name=name, command=_within(folder, moved.command))
    return tuple(taken.values())


def _name(folder: str, service: Proposal) -> str:
    folder_name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder).strip("-._")[:40]
    if not folder_name:
        return service.name
    return folder_name if service.name == "web" else f"{folder_name}-{service.name}"


def _free_name(name: str, taken: Iterable[str]) -> str:
    names, number, free = set(taken), 2, name
    while free in names:
        free, number = f"{name}-{number}", number + 1
    return free


def _on_free_port(service: Proposal, taken: set[int]) -> Proposal:
    if service.port is None or service.port not in taken:
        return service
    port = service.port
    while port in taken:
        port += 1
    if "PORT" in service.env:
        return replace(service, port=port, env={**service.env, "PORT": str(port)})
    if service.elsewhere is not None and "{port}" in service.elsewhere:
        return replace(service, port=port, command=service.elsewhere.format(port=port))
    remark = f"It listens on {service.port}, as another service does; give one of them another port."
    return replace(service, port=None, remark=remark)


def _within(folder: str, line: str) -> str:
    if not folder:
        return line
    place = f"./{folder}" if folder.startswith("-") else folder
    return f"cd {shlex.quote(place)} && {line}"


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
