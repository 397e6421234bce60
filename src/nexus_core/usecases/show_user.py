"""Looking a person up."""

from __future__ import annotations

from nexus_core.domain.user import Caller, User
from nexus_core.ports.store import Store
from nexus_core.usecases.sight import visible_user


class ShowUser:
    """Finds a user and the ids of its workspaces."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def __call__(self, caller: Caller, github_username: str) -> tuple[User, tuple[str, ...]]:
        """The user and its workspaces that are not deleted, newest first; raises `UserNotFound`."""
        with self._store.snapshot() as records:
            user = visible_user(records, caller, github_username)
            return user, tuple(records.workspaces.ids_of_owner(user.id))
