"""Who is asking: bearer tokens and what they may be used for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from litestar.connection import ASGIConnection

from nexus_core import Caller, Nexus
from nexus_core.errors import Forbidden, Unauthorized
from nexus_http.visits import visit_of

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,512}=*)")
_READING: Final = frozenset({"GET", "HEAD"})


def authenticate(nexus: Nexus, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """The caller; raises `Unauthorized`, or `Forbidden` where the token's scopes do not suffice."""
    caller = nexus.authenticate(bearer_token(connection.scope["headers"]))
    visit = visit_of(connection.scope)
    visit.caller = caller.user.github_username if caller.user else "administrator"
    needed = "read" if visit.method in _READING else "write"
    if needed not in caller.scopes:
        raise Forbidden(
            f"This token may not {needed}",
            fix=f"Use one that was issued with the scope `{needed}`.",
            details={"scopes": sorted(caller.scopes), "needed": needed},
        )
    return caller


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The secret in the one `Authorization` header, else `Unauthorized`."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        raise Unauthorized("No token was sent")
    match = _BEARER.fullmatch(found[0].strip()) if len(found) == 1 else None
    if match is None:
        raise Unauthorized("The `Authorization` header is not a bearer token")
    return match[1].decode()
