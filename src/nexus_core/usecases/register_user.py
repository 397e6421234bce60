"""Registering a person."""

from __future__ import annotations

from dataclasses import dataclass

from nexus_core.domain.user import Caller, PublicKey, User, check_email, check_github_username
from nexus_core.errors import FingerprintMismatch, InvalidRequest
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.public_keys import PublicKeys
from nexus_core.ports.store import Store

_MAX_GITHUB_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who is to be registered; a fingerprint that is given must be the key's."""

    github_username: str
    github_id: int
    ssh_pubkey: str
    email: str | None = None
    ssh_pubkey_fingerprint: str | None = None


class RegisterUser:
    """Makes a GitHub user known here, with the key it opens its workspaces with."""

    def __init__(self, *, store: Store, keys: PublicKeys, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def __call__(self, caller: Caller, registration: Registration) -> User:
        """The new user.

        A user registers no one but itself, the administrator anyone. Raises `Forbidden`,
        `InvalidRequest`, `InvalidSshKey`, `FingerprintMismatch`, `UserAlreadyRegistered` or
        `SshKeyInUse`; nothing is stored then.
        """
        name = caller.acting_for(check_github_username(registration.github_username))
        if not 1 <= registration.github_id <= _MAX_GITHUB_ID:
            raise InvalidRequest(
                "A GitHub id is a positive number", details={"$.github_id": "must be between 1 and 2^63-1"}
            )
        key = parse_key(self._keys, registration.ssh_pubkey, registration.ssh_pubkey_fingerprint)
        now = self._clock.now()
        user = User(
            id=self._ids.new("user"),
            github_username=name,
            github_id=registration.github_id,
            email=check_email(registration.email),
            public_key=key,
            created_at=now,
            updated_at=now,
        )
        with self._store.transaction() as records:
            records.users.add(user)
        return user


def parse_key(keys: PublicKeys, text: str, fingerprint: str | None) -> PublicKey:
    """The key, held against the fingerprint the client computed, if it sent one."""
    key = keys.parse(text)
    if fingerprint is not None and fingerprint != key.fingerprint:
        raise FingerprintMismatch(
            "The fingerprint is not the key's",
            details={"$.ssh_pubkey_fingerprint": f"the key's is {key.fingerprint}"},
        )
    return key
