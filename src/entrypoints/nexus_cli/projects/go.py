"""Go modules, told by go.mod."""

from __future__ import annotations

import re
from typing import Final

from nexus_cli.projects.found import Files, Found, Proposal

_DEBIANS: Final = (1, 19)
_VERSION: Final = re.compile(r"^go\s+(\d+)\.(\d+)(?:\.(\d+))?\s*(?://.*)?$", re.MULTILINE)
_LISTENS: Final = re.compile(r"""(?:ListenAndServe|ListenAndServeTLS|Run|Start|Listen)\(\s*"[^"\s]*:(\d{2,5})\"""")
_ADDRESS: Final = re.compile(r"""\bAddr:\s*"[^"\s]*:(\d{2,5})\"""")
_MAIN: Final = re.compile(r"^package\s+main\b", re.MULTILINE)


def recognise(files: Files) -> Found | None:
    """What go.mod and the programs of the folder say; None where there is no go.mod."""
    if "go.mod" not in files:
        return None
    asked = _VERSION.search(files["go.mod"])
    packages: tuple[str, ...] = ("golang",)
    tools: tuple[str, ...] = ()
    go = "go"
    if asked and (int(asked[1]), int(asked[2])) > _DEBIANS:
        archive = f"https://go.dev/dl/go{_release(asked)}.linux-$(dpkg --print-architecture).tar.gz"
        packages, tools = (), (f"curl -fsSL {archive} | sudo tar -xz -C /usr/local",)
        go = "/usr/local/go/bin/go"
    programs = _programs(files)
    services = tuple(
        Proposal(name, f"{go} run {where}", _port(text), remark="" if _port(text) else "Where it listens is not known.")
        for name, where, text in programs
    )
    remarks = () if programs else ("No program (`package main`) was found in the folder or in cmd/.",)
    return Found("Go (go.mod)", packages, tools, (f"{go} mod download",), services, remarks)


def _release(asked: re.Match[str]) -> str:
    """How the release is named: since 1.21 the first of a line ends in .0."""
    version = f"{asked[1]}.{asked[2]}"
    if asked[3] is not None:
        return f"{version}.{asked[3]}"
    return f"{version}.0" if int(asked[2]) >= 21 else version


def _programs(files: Files) -> list[tuple[str, str, str]]:
    """Name, what to run, and text of each program: the folder's own, else those in cmd/."""
    own = [text for path, text in sorted(files.items()) if re.fullmatch(r"[^/]+\.go", path) and _MAIN.search(text)]
    if own:
        return [("web", ".", "\n".join(own))]
    below = [(path, text) for path, text in sorted(files.items()) if re.fullmatch(r"cmd/[^/]+/main\.go", path)]
    return [(path.split("/")[1], f"./cmd/{path.split('/')[1]}", text) for path, text in below if _MAIN.search(text)]


def _port(text: str) -> int | None:
    found = _LISTENS.search(text) or _ADDRESS.search(text)
    return int(found[1]) if found else None
