"""``nexus schema``: what ``.nexus/config.yaml`` may hold, as editors understand it."""

from __future__ import annotations

import sys
from importlib import resources


def schema() -> None:
    """Print the JSON Schema of .nexus/config.yaml."""
    sys.stdout.write(text())


def text() -> str:
    """The schema, which is docs/reference/config.schema.json and comes with this package."""
    return resources.files("nexus_cli").joinpath("config.schema.json").read_text(encoding="utf-8")
