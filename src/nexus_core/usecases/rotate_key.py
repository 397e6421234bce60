"""Exchanging the key a person opens workspaces with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, OperationStatus
from nexus_core.domain.user import Caller, PublicKey, User
from nexus_core.domain.workspace import Workspace
from nexus_core.engine.engine import Engine
from nexus_core.engine.journal import enqueue
from nexus_core.errors import ProviderFailed, Unavailable
from nexus_core.ports.clock import Clock
from nexus_core.ports.ids import Ids
from nexus_core.ports.provider import WorkspaceProvider
from nexus_core.ports.public_keys import PublicKeys
from nexus_core.ports.store import Records, Store
from nexus_core.usecases.presence import require_provider
from nexus_core.usecases.register_user import parse_key
from nexus_core.usecases.sight import existing_user, visible_user


class RotateKey:
    """Locks the old key out of every running workspace and lets the new one in.

    Each container is brought to *the owner's present key*, whatever that is by then. So taking a
    rotation back is setting the present key back: what was or will be reached converges to it.
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: PublicKeys,
        provider: WorkspaceProvider,
        engine: Engine,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._keys = keys
        self._provider = provider
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, caller: Caller, github_username: str, ssh_pubkey: str, fingerprint: str | None) -> User:
        """The user with the new key, once every running workspace admits it and no other.

        Stopped workspaces get it when they start. Raises `UserNotFound`, `InvalidSshKey`,
        `FingerprintMismatch`, `SshKeyInUse`; `ProviderUnavailable` or `ProviderFailed` if a
        container could not be reached, and then the old key stays the user's.
        """
        key = parse_key(self._keys, ssh_pubkey, fingerprint)
        with self._store.snapshot() as records:
            user = visible_user(records, caller, github_username)
        # One after another for each user: what a failed rotation goes back to must be a key that was in force.
        async with self._turns[user.id]:
            return await self._rotate(user.id, key)

    async def _rotate(self, user_id: str, key: PublicKey) -> User:
        with self._store.snapshot() as records:
            user = existing_user(records, user_id)
            affected = _running(records, user)
        # Asked again while the first exchange is under way, or was cut short: it is waited for.
        is_everywhere = all(one.authorized_fingerprint == key.fingerprint for one in affected)
        if key.fingerprint == user.public_key.fingerprint and is_everywhere:
            return user
        if affected:
            await require_provider(self._provider)
        rotated, operations = self._install(user_id, key)
        try:
            await self._all_over(operations)
        except (Unavailable, ProviderFailed):
            self._install(user_id, user.public_key)
            raise
        return rotated

    def _install(self, user_id: str, key: PublicKey) -> tuple[User, list[str]]:
        """Make the key the present one; the operations that bring the running workspaces to it."""
        now = self._clock.now()
        operations: list[str] = []
        with self._store.transaction() as records:
            latest = replace(existing_user(records, user_id), public_key=key, updated_at=now)
            records.users.update(latest)
            for workspace in _running(records, latest):
                under_way = records.operations.unfinished(workspace.id)
                operation = under_way or enqueue(records, workspace, OperationKind.REKEY, self._ids.new("op"), now)
                operations.append(operation.id)
        self._engine.admit()
        return latest, operations

    async def _all_over(self, operations: list[str]) -> None:
        results = await asyncio.gather(*(self._engine.completion(one) for one in operations), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            if result.status is OperationStatus.FAILED:
                why = next((step.error for step in result.steps if step.error), "")
                raise ProviderFailed("The key could not be exchanged in every running workspace", why=why)


def _running(records: Records, user: User) -> list[Workspace]:
    return [one for one in records.workspaces.of_owner(user.id) if one.status is Status.RUNNING]
