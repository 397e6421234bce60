"""Users, their keys and their tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core import Caller, Registration
from nexus_core.errors import InvalidRequest
from nexus_http.bodies import read_body
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.site import Site
from nexus_http.wire import requests
from nexus_http.wire.users import IssuedToken, Token, Tokens, User

Asking = Request[Caller, Any, Any]

_KEY_ERRORS: Final = ("invalid_ssh_key", "fingerprint_mismatch", "ssh_key_in_use")

REGISTER = Endpoint(
    tag="Users",
    summary="Register a user",
    description="Makes a GitHub user known here, with the key it opens its workspaces with. The administrator may "
    "register anyone, a user nobody but itself.",
    body=requests.RegisterUser,
    answers={201: Answer("The new user.", User)},
    errors=(*_KEY_ERRORS, "forbidden", "user_already_registered"),
)


@post("/users/register-github", opt=REGISTER.opt)
async def register_user(request: Asking, site: NamedDependency[Site]) -> User:
    """Register a user."""
    body = await read_body(request, requests.RegisterUser)
    registration = Registration(
        github_username=body.github_username,
        github_id=body.github_id,
        ssh_pubkey=body.ssh_pubkey,
        email=body.email,
        ssh_pubkey_fingerprint=body.ssh_pubkey_fingerprint,
    )
    return User.of(site.nexus.register_user(request.user, registration), ())


SHOW = Endpoint(
    tag="Users",
    summary="Show a user",
    description="The user and the ids of its workspaces that are not deleted.",
    answers={200: Answer("The user.", User)},
    errors=("user_not_found",),
)


@get("/users/{username:str}", opt=SHOW.opt, sync_to_thread=False)
def show_user(request: Asking, site: NamedDependency[Site], username: FromPath[str]) -> User:
    """Show a user."""
    return User.of(*site.nexus.show_user(request.user, username))


ROTATE = Endpoint(
    tag="Users",
    summary="Exchange a user's SSH key",
    description="When this is answered, the new key opens every running workspace of the user and the old key none. "
    "Stopped ones get it when they start. Where the provider is away nothing is changed.",
    body=requests.ReplaceKey,
    answers={200: Answer("The user with its new key.", User)},
    errors=(*_KEY_ERRORS, "user_not_found", "provider_unavailable"),
)


@put("/users/{username:str}/ssh-key", opt=ROTATE.opt)
async def rotate_key(request: Asking, site: NamedDependency[Site], username: FromPath[str]) -> User:
    """Exchange a user's SSH key."""
    body = await read_body(request, requests.ReplaceKey)
    await site.nexus.rotate_key(request.user, username, body.ssh_pubkey, body.ssh_pubkey_fingerprint)
    return User.of(*site.nexus.show_user(request.user, username))


ISSUE = Endpoint(
    tag="Tokens",
    summary="Issue an API token",
    description="The token speaks for the user. Its secret is in this answer alone; only its SHA-256 is kept.",
    body=requests.IssueToken,
    answers={201: Answer("The token with its secret.", IssuedToken)},
    errors=("forbidden", "user_not_found"),
)


@post("/users/{username:str}/tokens", opt=ISSUE.opt, status_code=201)
async def issue_token(request: Asking, site: NamedDependency[Site], username: FromPath[str]) -> Response[IssuedToken]:
    """Issue an API token."""
    body = await read_body(request, requests.IssueToken)
    token, secret = site.nexus.issue_token(
        request.user, username, label=body.label, scopes=body.scopes, expires_at=_in_utc(body.expires_at)
    )
    return Response(IssuedToken.of(token, secret), status_code=201, headers={"Cache-Control": "no-store"})


LIST_TOKENS = Endpoint(
    tag="Tokens",
    summary="List a user's API tokens",
    description="Newest first, without their secrets.",
    answers={200: Answer("The tokens.", Tokens)},
    errors=("user_not_found",),
)


@get("/users/{username:str}/tokens", opt=LIST_TOKENS.opt, sync_to_thread=False)
def list_tokens(request: Asking, site: NamedDependency[Site], username: FromPath[str]) -> Tokens:
    """List a user's API tokens."""
    return Tokens(tuple(map(Token.of, site.nexus.list_tokens(request.user, username))))


REVOKE = Endpoint(
    tag="Tokens",
    summary="Revoke an API token",
    description="The token is valid no more when this is answered.",
    answers={204: Answer("It is revoked.")},
    errors=("user_not_found", "token_not_found"),
)


@delete("/users/{username:str}/tokens/{token_id:str}", opt=REVOKE.opt, sync_to_thread=False)
def revoke_token(
    request: Asking, site: NamedDependency[Site], username: FromPath[str], token_id: FromPath[str]
) -> None:
    """Revoke an API token."""
    site.nexus.revoke_token(request.user, username, token_id)


def _in_utc(at: datetime | None) -> datetime | None:
    """The moment in UTC and whole seconds, as it will be shown."""
    if at is None:
        return None
    try:
        return at.astimezone(UTC).replace(microsecond=0)
    except OverflowError as exc:
        reason = "a moment outside the years 1 to 9999"
        raise InvalidRequest("The expiry cannot be had", details={"$.expires_at": reason}) from exc


ROUTES: Final[list[Any]] = [register_user, show_user, rotate_key, issue_token, list_tokens, revoke_token]
