"""What clients are answered about users and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

from msgspec import Meta, Struct
from msgspec.structs import asdict

from nexus_core.domain import user
from nexus_core.domain.token import ApiToken
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
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, one: ApiToken) -> Token:
        """The token as the API lists it."""
        return cls(
            token_id=one.id,
            label=one.label,
            scopes=cast("tuple[Scope, ...]", one.scopes),  # the core keeps no others
            created_at=moment(one.created_at),
            expires_at=moment_or_null(one.expires_at),
            last_used_at=moment_or_null(one.last_used_at),
        )


class IssuedToken(Struct, frozen=True, kw_only=True):
    """A new API token; the secret in ``token`` is in this answer alone."""

    token_id: str
    token: Annotated[str, Meta(pattern="^nxs_")]
    label: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, one: ApiToken, secret: str) -> IssuedToken:
        """The token as it is given out."""
        return cls(token=secret, **asdict(Token.of(one)))


class Tokens(Struct, frozen=True):
    """A user's tokens, newest first."""

    tokens: tuple[Token, ...]
