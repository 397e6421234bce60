"""Finding out who is asking."""

from __future__ import annotations

import hmac
from contextlib import suppress
from datetime import datetime, timedelta

from nexus_core.domain.token import PREFIX, ApiToken, digest
from nexus_core.domain.user import Caller
from nexus_core.errors import DatabaseBusy, StoreFailed, Unauthorized
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.store import Store

_USE_NOTED_EVERY = timedelta(minutes=1)  # a write for every request would cost more than the request
_BOOTSTRAP = "bootstrap"


class Authenticate:
    """Turns a token's secret into a `Caller`."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, secret: str) -> Caller:
        """The caller this API token speaks for.

        Raises `Unauthorized` for a token that is unknown, revoked or expired, with the same words
        for all three.
        """
        refused = Unauthorized("The token is not valid", why="It is unknown, revoked or expired.")
        if not secret.startswith(PREFIX):
            raise refused
        hashed = digest(secret)
        now = self._clock.now()
        with self._store.snapshot() as records:
            token = records.tokens.by_digest(hashed)
            if token is None or not hmac.compare_digest(token.digest, hashed) or not token.is_valid(now):
                raise refused
            user = records.users.get(token.user_id) if token.user_id is not None else None
        if token.user_id is not None and user is None:
            raise refused
        # The distance: after a clock that was ahead was set back, the time noted last lies in the future.
        if token.last_used_at is None or abs(now - token.last_used_at) >= _USE_NOTED_EVERY:
            self._note_use(token.id, now)
        return Caller(user=user, token_id=token.id, scopes=frozenset(token.scopes))

    def _note_use(self, token_id: str, now: datetime) -> None:
        """Remember that the token was used, if that can be done at once: nobody is refused or kept waiting for it."""
        with suppress(DatabaseBusy, StoreFailed), self._store.transaction(wait=False) as records:
            records.tokens.used(token_id, now)


class AdmitAdministrator:
    """Makes the secret in the administrator's token file the one that is valid."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    def __call__(self, secret: str) -> None:
        """From now on this secret is the administrator's bootstrap token, and no earlier one is. Idempotent."""
        hashed = digest(secret)
        with self._store.transaction() as records:
            if records.tokens.by_digest(hashed) is not None:
                return
            for token in records.tokens.of_user(None):
                if token.label == _BOOTSTRAP:
                    records.tokens.remove(token.id)
            token_id = self._ids.new("tok")
            now = self._clock.now()
            records.tokens.add(ApiToken(token_id, None, _BOOTSTRAP, hashed, scopes=("read", "write"), created_at=now))
