"""``.nexus/config.yaml`` as text, with remarks for the person who looks it over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from nexus_cli.projects.found import Proposal
from nexus_cli.projects.recognition import Recognised

_PLAIN: Final = re.compile(r"[A-Za-z/.~](?:[A-Za-z0-9_./~@=+$()|&<>;-]| (?![#]))*")
# What YAML, or an older reader of it, takes for something else than text.
_OTHERWISE: Final = re.compile(r"(?i:true|false|yes|no|on|off|null|y|n|~|\.inf|\.nan)|\.[0-9eE+-]*")
_HEAD: Final = """\
# How a workspace for this repository is set up, and what runs in it.
# It is read when the workspace is created. `nexus schema` prints all it may hold, for editors to check it.
version: 1
"""
_SETUP: Final = """\

# Shell lines that run once, in the repository, after it was cloned. `sudo` asks for no password.
"""
_SETUP_EXAMPLE: Final = """\
# setup:
#   - sudo apt-get update && sudo apt-get install -y build-essential
#   - make
"""
_SERVICES: Final = """\

# Programs that run in the workspace, each started once all it depends on is healthy.
"""
_SERVICES_EXAMPLE: Final = """\
# services:
#   web:
#     command: python3 -m http.server 8000 --bind 127.0.0.1
#     port: 8000
#     health_check: http        # or tcp, none, a path such as /health, or a shell command
#     depends_on: [database]
#     env: {MODE: development}
#     expose: true              # reachable through a port of the server
"""
_REST: Final = """\

# Shell lines for other moments.
# lifecycle:
#   pre_start: echo "once, after setup"
#   post_start: echo "each time all services are up"
#   pre_stop: echo "before services are stopped"

# What the workspace gets, where the request does not say.
# providers:
#   lxc: {cpu: 2, memory: 4GiB, disk: 20GiB}
"""


def config_text(name: str, known: Recognised) -> str:
    """The whole file for a project of this name, ending with a newline."""
    parts = [_HEAD, f"name: {scalar(_slug(name))}\n", _SETUP]
    if known.setup:
        parts.append("setup:\n")
        parts += [f"  - {scalar(line)}\n" for line in known.setup]
    else:
        parts.append(_SETUP_EXAMPLE)
    parts.append(_SERVICES)
    parts += [f"# {line}\n" for line in known.remarks]
    if known.services:
        parts.append("services:\n")
        for service in known.services:
            parts += [f"{line}\n" for line in _service(service)]
    else:
        parts.append(_SERVICES_EXAMPLE)
    return "".join([*parts, _REST])


def scalar(text: str) -> str:
    """The text as a YAML scalar on one line: plain where every reader takes it for text, else in quotes."""
    if _PLAIN.fullmatch(text) and not text.endswith(" ") and not _OTHERWISE.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted)


def _service(service: Proposal) -> Iterator[str]:
    if service.remark:
        yield f"  # {service.remark}"
    yield f"  {scalar(service.name)}:"
    yield f"    command: {scalar(service.command)}"
    if service.port is None:
        yield "    # port: 3000              # where it listens, if it does"
    else:
        yield f"    port: {service.port}"
    if service.env:
        yield f"    env: {_flow(service.env)}"
    if service.port is not None:
        yield "    health_check: tcp         # or http, none, a path such as /health, or a shell command"
        yield "    expose: true"
    yield "    # depends_on: []"


def _flow(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items()) + "}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "project"
