"""API tokens: a secret shown once, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

PREFIX = "nxs_"
SCOPES = ("read", "write")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is remembered of a token. ``user_id`` is None for the administrator's."""

    id: str
    user_id: str | None
    label: str
    digest: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the token has not expired."""
        return self.expires_at is None or now < self.expires_at


def digest(secret: str) -> str:
    """The hex SHA-256 under which a token is stored.

    A plain hash is enough: the secret has 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
