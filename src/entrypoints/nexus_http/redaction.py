"""Keeping secrets and the host's paths out of what others read."""

from __future__ import annotations

import re
from typing import Final

_SECRET: Final = re.compile(
    r"nxs_[A-Za-z0-9_-]+|gh[pousr]_[A-Za-z0-9]+|github_pat_[A-Za-z0-9_]+"
    r"|-----BEGIN[A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
_HOST_PATH: Final = re.compile(
    r"(?<![\w.:/])/(?:dev|etc|home|mnt|opt|proc|root|run|snap|srv|sys|tmp|usr|var)/[^\s\"',;)\]]*"
)


def without_secrets(text: str) -> str:
    """The text with tokens and private keys blotted out; a safety net, for nothing should write them."""
    return _SECRET.sub(_blot, text)


def without_paths(text: str) -> str:
    """The text with absolute paths of the host blotted out."""
    return _HOST_PATH.sub("[path]", text)


def _blot(found: re.Match[str]) -> str:
    secret = found[0]
    kept = secret[: secret.index("_") + 1] if "_" in secret[:12] else ""
    return f"{kept}[redacted]"
