"""Registered people, in the table ``users``."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from nexus_core.domain.user import PublicKey, User
from nexus_core.errors import SshKeyInUse, UserAlreadyRegistered, UserNotFound
from nexus_core.ports.records import Users
from nexus_sqlite.errors import is_unique_violation
from nexus_sqlite.moments import from_micros, to_micros

ADD: Final = """
INSERT INTO users (id, github_username, github_id, email, public_key, public_key_fingerprint, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE: Final = """
UPDATE users SET email = ?, public_key = ?, public_key_fingerprint = ?, updated_at = ? WHERE id = ?
"""
_SELECT: Final = """
SELECT id, github_username, github_id, email, public_key, public_key_fingerprint, created_at, updated_at FROM users
"""
GET: Final = _SELECT + "WHERE id = ?"
BY_NAME: Final = _SELECT + "WHERE github_username = ?"
IS_REGISTERED: Final = "SELECT 1 FROM users WHERE github_username = ? OR github_id = ?"


class SqliteUsers(Users):
    """`Users` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, user: User) -> None:
        try:
            self._connection.execute(
                ADD,
                (
                    user.id,
                    user.github_username,
                    user.github_id,
                    user.email,
                    user.public_key.text,
                    user.public_key.fingerprint,
                    to_micros(user.created_at),
                    to_micros(user.updated_at),
                ),
            )
        except sqlite3.IntegrityError as exc:
            # Which of several broken rules SQLite names first is its own affair: who registers twice
            # with the same key must hear of the registration, so that is looked up before the key.
            if self._is_registered(user):
                raise UserAlreadyRegistered(f"{user.github_username} or that GitHub id is registered already") from exc
            if _is_key_in_use(exc):
                raise _key_in_use(user) from exc
            raise

    def update(self, user: User) -> None:
        try:
            changed = self._connection.execute(
                UPDATE,
                (user.email, user.public_key.text, user.public_key.fingerprint, to_micros(user.updated_at), user.id),
            ).rowcount
        except sqlite3.IntegrityError as exc:
            if _is_key_in_use(exc):
                raise _key_in_use(user) from exc
            raise
        if not changed:
            raise UserNotFound(f"{user.github_username} is not registered any more")

    def get(self, user_id: str) -> User | None:
        return _one(self._connection.execute(GET, (user_id,)).fetchone())

    def by_name(self, github_username: str) -> User | None:
        return _one(self._connection.execute(BY_NAME, (github_username,)).fetchone())

    def _is_registered(self, user: User) -> bool:
        found = self._connection.execute(IS_REGISTERED, (user.github_username, user.github_id)).fetchone()
        return found is not None


def _is_key_in_use(exc: sqlite3.IntegrityError) -> bool:
    return is_unique_violation(exc, "users.public_key_fingerprint")


def _key_in_use(user: User) -> SshKeyInUse:
    return SshKeyInUse(f"Another user holds the key {user.public_key.fingerprint}")


def _one(row: tuple[Any, ...] | None) -> User | None:
    if row is None:
        return None
    user_id, name, github_id, email, key, fingerprint, created_at, updated_at = row
    return User(
        id=user_id,
        github_username=name,
        github_id=github_id,
        email=email,
        public_key=PublicKey(key, fingerprint),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
    )
