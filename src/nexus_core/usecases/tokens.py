"""Issuing, listing and revoking a user's API tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nexus_core.domain.token import SCOPES, ApiToken, digest
from nexus_core.domain.user import Caller
from nexus_core.errors import Forbidden, InvalidRequest, TokenNotFound
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_user

_MAX_LABEL = 100


class IssueToken:
    """Gives out a token that speaks for a user."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    def __call__(
        self,
        caller: Caller,
        github_username: str,
        *,
        label: str,
        scopes: Sequence[str] = SCOPES,
        expires_at: datetime | None = None,
    ) -> tuple[ApiToken, str]:
        """The token's record and its secret, which is not kept and cannot be shown again.

        Raises `UserNotFound`, `Forbidden` for scopes that the caller's own token lacks, or
        `InvalidRequest` for an empty or long label, a label with control characters, scopes other
        than read and write, or an expiry that is past.
        """
        now = self._clock.now()
        if not (label.strip() and len(label) <= _MAX_LABEL and label.isprintable()):
            raise InvalidRequest("The label will not do", details={"$.label": f"1-{_MAX_LABEL} printable characters"})
        if not scopes or len(set(scopes)) != len(scopes) or not set(scopes) <= set(SCOPES):
            raise InvalidRequest(
                "The scopes will not do", details={"$.scopes": "one or both of read and write, once each"}
            )
        if not caller.scopes.issuperset(scopes):
            raise Forbidden(
                "A token cannot give out more than it may do itself",
                fix="Ask for fewer `scopes`, or use another token.",
            )
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest(
                "The token would be expired already", details={"$.expires_at": "must be in the future"}
            )
        secret = self._ids.secret()
        with self._store.transaction() as records:
            user = visible_user(records, caller, github_username)
            token = ApiToken(
                id=self._ids.new("tok"),
                user_id=user.id,
                label=label,
                digest=digest(secret),
                scopes=tuple(scopes),
                created_at=now,
                expires_at=expires_at,
            )
            records.tokens.add(token)
        return token, secret


class ListTokens:
    """Shows which tokens speak for a user."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(self, caller: Caller, github_username: str) -> Sequence[ApiToken]:
        """The user's tokens, newest first; raises `UserNotFound`."""
        with self._store.snapshot() as records:
            return records.tokens.of_user(visible_user(records, caller, github_username).id)


class RevokeToken:
    """Takes a token back at once."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(self, caller: Caller, github_username: str, token_id: str) -> None:
        """The token is valid no more; raises `UserNotFound` or `TokenNotFound`."""
        with self._store.transaction() as records:
            user = visible_user(records, caller, github_username)
            if all(token.id != token_id for token in records.tokens.of_user(user.id)):
                raise TokenNotFound(f"{user.github_username} has no token {token_id[:60]!r}")
            records.tokens.remove(token_id)
