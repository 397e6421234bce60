"""What a workspace of the trial may be asked to hold."""

from __future__ import annotations

import random
from typing import Any

CHAIN = ("store", "api", "page")


def body(name: str, owner: str, repository: str, rng: random.Random, *, full: bool = False) -> dict[str, Any]:
    """A request for a workspace: plain, or with a set-up, a repository, up to three services in a chain."""
    asked: dict[str, Any] = {
        "workspace_name": name,
        "github_username": owner,
        "resources": {"cpu": 1, "memory": "512MiB", "disk": "2GiB"},
    }
    if full or rng.random() < 0.35:
        asked["setup"] = ["echo once >>~/setup; sleep 1"]
    if full or rng.random() < 0.25:
        asked["repo"] = {"url": repository}
    count = 2 if full else rng.choice((0, 0, 0, 1, 2, 3))
    asked["services"] = [_service(index) for index in range(count)]
    return asked


def _service(index: int) -> dict[str, Any]:
    """One that listens on localhost alone and answers with its workspace's name, and needs the one before it."""
    name, port = CHAIN[index], 7001 + index
    command = (
        f"mkdir -p ~/{name} && hostname >~/{name}/index.html && "
        f"exec python3 -m http.server --bind 127.0.0.1 --directory ~/{name} {port}"
    )
    needs = [CHAIN[index - 1]] if index else []
    check = {"type": "tcp", "interval": 2, "timeout": 5, "retries": 30}
    return {"name": name, "command": command, "port": port, "depends_on": needs, "health_check": check}
