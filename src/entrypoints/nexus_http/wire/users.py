"""What clients are answered about users and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from nexus_core.domain import token, user
from nexus_http.wire.fields import Scope, moment, moment_or_null


class User(Struct, frozen=True):
    """A registered user and the ids of its workspaces that are not deleted, newest first."""

    user_id: str
    github_username: str
    github_id: int
    email: str | None
    ssh_pubkey_fingerprint: str
    registered_at: datetime
    updated_at: datetime
    workspaces: tuple[str, ...]

    @classmethod
    def of(cls, one: user.User, workspaces: tuple[str, ...]) -> User:
        """The user as the API shows it."""
        return cls(
            user_id=one.id,
            github_username=one.github_username,
            github_id=one.github_id,
            email=one.email,
            ssh_pubkey_fingerprint=one.public_key.fingerprint,
            registered_at=moment(one.created_at),
            updated_at=moment(one.updated_at),
            workspaces=workspaces,
        )


class Token(Struct, frozen=True, kw_only=True):
    """An API token without its secret, which nobody can be told again."""

    token_id: str
    label: str
    scopes: tuple[Literal["read", "write"], ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, one: token.ApiToken) -> Token:
        """The token as the API lists it."""
        return cls(**_token_fields(one))


class IssuedToken(Token, frozen=True, kw_only=True):
    """A new API token; the secret in ``token`` is in this answer alone."""

    token: Annotated[str, Meta(pattern="^nxs_", examples=["nxs_<43 letters, digits, - and _>"])]

    @classmethod
    def new(cls, one: token.ApiToken, secret: str) -> IssuedToken:
        """The token as it is given out."""
        return cls(token=secret, **_token_fields(one))


class Tokens(Struct, frozen=True):
    """A user's tokens, newest first."""

    tokens: tuple[Token, ...]
