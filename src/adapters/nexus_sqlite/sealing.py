"""Secrets as the database keeps them: readable only with the key that is kept beside it.

AES-256-GCM with a random nonce for every value. Where a value belongs is authenticated with it, so
that one that was moved to another row or column is as good as damaged.
"""

from __future__ import annotations

import json
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nexus_core.errors import StoreFailed

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class Sealing:
    """Seals texts with one key, and opens what was sealed with it."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """Raises `StoreFailed` for a key of the wrong length."""
        if len(key) != KEY_BYTES:
            raise StoreFailed(
                "The key of the database cannot be used",
                why=f"It has {len(key)} bytes in place of {KEY_BYTES}.",
                fix="Put back the key file that belongs to this database, from a backup if need be.",
            )
        self._cipher = AESGCM(key)

    def seal(self, text: str, *place: str) -> bytes:
        """The text, to be opened again only for the same place; never twice the same bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), _bound_to(place))

    def open(self, sealed: bytes, *place: str) -> str:
        """What was sealed for this place; `StoreFailed` if it was not, or with another key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(place)).decode()
        except (InvalidTag, ValueError) as exc:  # ValueError: what is left of it is too short for a nonce
            raise StoreFailed(
                "A secret in the database cannot be read",
                why="The key file does not belong to this database, or the value was damaged.",
                fix="Put back the key file that belongs to this database, or the database from a backup.",
                details={"secret": place[0]},
            ) from exc


def _bound_to(place: tuple[str, ...]) -> bytes:
    """The place as bytes that no other place has."""
    return json.dumps(place).encode()
