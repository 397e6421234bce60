"""Identifiers and secrets from the host's cryptographic source."""

from __future__ import annotations

import secrets
import string

from nexus_core.domain.token import PREFIX
from nexus_core.ports.ids import Ids

_ALPHABET = string.ascii_lowercase + string.digits


class RandomIds(Ids):
    """`Ids` that nobody can foresee.

    Twelve characters are 62 bits: among a million identifiers the chance that any two are alike is
    one in ten million.
    """

    def new(self, prefix: str) -> str:
        return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(12))}"

    def secret(self) -> str:
        return PREFIX + secrets.token_urlsafe(32)
