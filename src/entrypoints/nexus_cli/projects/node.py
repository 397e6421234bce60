"""Node.js projects, told by package.json."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from nexus_cli.projects.found import Files, Found, Proposal

_DEBIANS: Final = 18
"""The major version of Node.js in Debian 12."""
_CURRENT: Final = 22


class _Framework(NamedTuple):
    package: str
    title: str
    port: int
    flag: str | None = None  # how its command is told another port; None: by PORT
    node_since: int = 1000  # the major version from which on it wants a newer Node.js than Debian's


_FRAMEWORKS: Final = (
    _Framework("next", "Next.js", 3000, node_since=16),
    _Framework("nuxt", "Nuxt", 3000, node_since=4),
    _Framework("astro", "Astro", 4321, "--port {port}", 6),
    _Framework("react-scripts", "Create React App", 3000),
    _Framework("@angular/cli", "Angular", 4200, "--port {port}", 20),
    _Framework("@vue/cli-service", "Vue CLI", 8080, "--port {port}"),
    _Framework("vite", "Vite", 5173, "--port {port}", 7),
)
_SERVERS: Final = {
    "express": "Express",
    "fastify": "Fastify",
    "koa": "Koa",
    "@nestjs/core": "NestJS",
    "@hapi/hapi": "hapi",
    "hono": "Hono",
}
_LOCKS: Final = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
)
_INSTALL: Final = {
    "npm": "npm ci",
    "pnpm": "pnpm install --frozen-lockfile",
    "yarn": "yarn install",
    "bun": "bun install --frozen-lockfile",
}
_PORT: Final = re.compile(r"(?:--port[= ]|-p |\bPORT=)(\d{2,5})\b")


def recognise(files: Files) -> Found | None:
    """What the folder's package.json says; None where there is none, or it is none."""
    package = _object(files.get("package.json"))
    if package is None:
        return None
    program, locked = _installer(files, package)
    dependencies = {**_strings(package, "devDependencies"), **_strings(package, "dependencies")}
    framework = next((one for one in _FRAMEWORKS if one.package in dependencies), None)
    server = next((title for name, title in _SERVERS.items() if name in dependencies), None)
    title = (framework.title if framework else server) or "Node.js"
    remarks = [] if locked else ["There is no lock file: the newest packages that fit are installed."]
    newer = _newer_node(files, package, framework, dependencies)
    tools = [] if newer is None else [f"sudo npm install --global n && sudo n {newer}"]
    if program != "npm":
        tools.append(f"sudo npm install --global {program}")
    install = _INSTALL[program] if locked else f"{program} install"
    service = _service(package, program, framework, title if framework or server else None)
    if service is None:
        remarks.append("package.json has no script named dev, start or serve.")
    return Found(
        what=f"{title} ({program}, package.json)",
        packages=("nodejs", "npm"),
        tools=tuple(tools),
        setup=(install,),
        services=() if service is None else (service,),
        remarks=tuple(remarks),
    )


def holds_others(files: Files) -> bool:
    """Whether the package.json is that of a workspace, whose scripts run the folders below as well."""
    return "pnpm-workspace.yaml" in files or "workspaces" in (_object(files.get("package.json")) or {})


def _service(package: dict[str, Any], program: str, framework: _Framework | None, known: str | None) -> Proposal | None:
    scripts = _strings(package, "scripts")
    script = next((name for name in ("dev", "start", "serve") if scripts.get(name)), None)
    if script is None:
        return None
    command = "npm start" if (program, script) == ("npm", "start") else f"{program} run {script}"
    written = _PORT.search(scripts[script])
    if framework is not None:
        port = int(written[1]) if written else framework.port
        env = {"BROWSER": "none", "CI": "true"} if framework.package == "react-scripts" else {}
        remark = "It would end when its input does, were it not for CI." if env else ""
        if framework.flag is None:
            return Proposal("web", command, port, env=env if written else {**env, "PORT": str(port)}, remark=remark)
        separator = " -- " if program == "npm" else " "
        return Proposal("web", command, port, f"{command}{separator}{framework.flag}", env, remark)
    if written:
        return Proposal("web", command, int(written[1]))
    if known is not None:
        remark = "Most programs listen where PORT says; check that this one does."
        return Proposal("web", command, 3000, env={"PORT": "3000"}, remark=remark)
    return Proposal("web", command)


def _installer(files: Files, package: dict[str, Any]) -> tuple[str, bool]:
    """The program that installs the packages, and whether a lock file tells it which."""
    for lock, program in _LOCKS:
        if lock in files:
            return program, True
    named = str(package.get("packageManager") or "").partition("@")[0]
    return (named if named in _INSTALL else "npm"), False


def _newer_node(
    files: Files, package: dict[str, Any], framework: _Framework | None, dependencies: dict[str, str]
) -> int | None:
    """The major version of Node.js to install, where Debian's is too old."""
    for pinned in (".nvmrc", ".node-version"):
        if pinned in files and (asked := _major(files[pinned])):
            return asked if asked > _DEBIANS else None
    # Of several ranges the first is the oldest, by custom.
    engine = _strings(package, "engines").get("node", "").partition("||")[0].strip()
    least = _major(engine) or 0
    if least > _DEBIANS:
        return max(least, _CURRENT) if engine.startswith(">") else least
    if framework is not None and (_major(dependencies[framework.package]) or 0) >= framework.node_since:
        return _CURRENT
    return None


def _major(version: str) -> int | None:
    number = re.match(r"\s*[\^~>=v]*\s*(\d{1,3})\b", version)
    return int(number[1]) if number else None


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _strings(package: dict[str, Any], key: str) -> dict[str, str]:
    value = package.get(key)
    return {str(name): str(one) for name, one in value.items()} if isinstance(value, dict) else {}
