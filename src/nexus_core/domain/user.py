"""People: who they are on GitHub, the key they open workspaces with, and who is asking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from nexus_core.errors import Forbidden, InvalidRequest

# GitHub's own rule: 1-39 letters, digits and single inner hyphens.
GITHUB_USERNAME = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}"
_USERNAME = re.compile(GITHUB_USERNAME)
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One SSH public key: algorithm and base64 without comment, and its SHA-256 fingerprint."""

    text: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class HostKeyPair:
    """A workspace's SSH host key; the private half lives in the container and nowhere else."""

    private: str
    public: PublicKey

    def __repr__(self) -> str:
        return f"HostKeyPair(public={self.public.fingerprint})"


@dataclass(frozen=True, slots=True)
class User:
    """A registered person."""

    id: str
    github_username: str
    github_id: int
    email: str | None
    public_key: PublicKey
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        return self.github_username


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a registered user, or the administrator when ``user`` is None."""

    user: User | None
    token_id: str | None = None
    scopes: frozenset[str] = frozenset({"read", "write"})

    @property
    def is_admin(self) -> bool:
        return self.user is None

    def may_see(self, owner_id: str) -> bool:
        """Whether something that belongs to this user id exists as far as the caller is concerned."""
        return self.user is None or self.user.id == owner_id

    def acting_for(self, github_username: str | None, *, field: str = "github_username") -> str:
        """The name of the user this request is about.

        A user may leave the name out or give its own; naming another raises `Forbidden`. The
        administrator must give one, or `InvalidRequest` is raised.
        """
        if self.user is None:
            if github_username is None:
                raise InvalidRequest(
                    "The administrator must name the owner",
                    fix=f"Add `{field}`.",
                    details={f"$.{field}": "required for the administrator"},
                )
            return github_username
        if github_username is None or github_username.lower() == self.user.github_username.lower():
            return self.user.github_username
        raise Forbidden(
            f"{self.user.github_username} may not act for another user",
            fix=f"Leave `{field}` out, or ask the administrator.",
        )


def check_github_username(name: str) -> str:
    """The name itself if GitHub would allow it, else `InvalidRequest`."""
    if len(name) > 39 or not _USERNAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:60]!r} is not a GitHub user name",
            why="It has 1-39 letters, digits and single hyphens, with none at either end.",
            details={"$.github_username": "not a GitHub user name"},
        )
    return name


def check_email(email: str | None) -> str | None:
    """The address itself if it has the shape of one, else `InvalidRequest`; None passes."""
    if email is not None and not _EMAIL.fullmatch(email):
        raise InvalidRequest("The e-mail address is not one", details={"$.email": "not an e-mail address"})
    return email
