"""API tokens, in the table ``api_tokens``; of the secret only its digest is here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from nexus_core.domain.token import ApiToken
from nexus_core.ports.records import Tokens
from nexus_sqlite.moments import from_micros, from_micros_or_null, to_micros, to_micros_or_null

ADD: Final = """
INSERT INTO api_tokens (id, user_id, label, digest, scopes, created_at, expires_at, last_used_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SELECT: Final = """
SELECT id, user_id, label, digest, scopes, created_at, expires_at, last_used_at FROM api_tokens
"""
BY_DIGEST: Final = _SELECT + "WHERE digest = ?"
# IS, not =: the administrator's tokens have NULL here.
OF_USER: Final = _SELECT + "WHERE user_id IS ? ORDER BY created_at DESC, rowid DESC"
REMOVE: Final = "DELETE FROM api_tokens WHERE id = ?"
USED: Final = "UPDATE api_tokens SET last_used_at = ? WHERE id = ?"
PURGE_EXPIRED: Final = "DELETE FROM api_tokens WHERE expires_at < ?"


class SqliteTokens(Tokens):
    """`Tokens` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, token: ApiToken) -> None:
        self._connection.execute(
            ADD,
            (
                token.id,
                token.user_id,
                token.label,
                token.digest,
                json.dumps(token.scopes),
                to_micros(token.created_at),
                to_micros_or_null(token.expires_at),
                to_micros_or_null(token.last_used_at),
            ),
        )

    def by_digest(self, digest: str) -> ApiToken | None:
        row = self._connection.execute(BY_DIGEST, (digest,)).fetchone()
        return None if row is None else _token(row)

    def of_user(self, user_id: str | None) -> Sequence[ApiToken]:
        return [_token(row) for row in self._connection.execute(OF_USER, (user_id,)).fetchall()]

    def remove(self, token_id: str) -> None:
        self._connection.execute(REMOVE, (token_id,))

    def used(self, token_id: str, now: datetime) -> None:
        self._connection.execute(USED, (to_micros(now), token_id))

    def purge_expired(self, before: datetime) -> int:
        return self._connection.execute(PURGE_EXPIRED, (to_micros(before),)).rowcount


def _token(row: tuple[Any, ...]) -> ApiToken:
    token_id, user_id, label, digest, scopes, created_at, expires_at, last_used_at = row
    return ApiToken(
        id=token_id,
        user_id=user_id,
        label=label,
        digest=digest,
        scopes=tuple(json.loads(scopes)),
        created_at=from_micros(created_at),
        expires_at=from_micros_or_null(expires_at),
        last_used_at=from_micros_or_null(last_used_at),
    )
