"""``nexus token new``, ``ls`` and ``rm``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nexus_cli.connection import Connection, connected
from nexus_cli.errors import WrongUsage
from nexus_cli.screen import answer_json, columns, note, say
from nexus_cli.users import User, named
from nexus_cli.words import age

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def new(
    label: Annotated[str, Parameter(help="What it is for, such as laptop.")],
    /,
    *,
    user: User = None,
    expires: Annotated[
        str | None, Parameter(help="A date such as 2030-01-31, a moment in RFC 3339, or a span: 12h, 30d, 8w.")
    ] = None,
    scope: Annotated[
        list[Literal["read", "write"]] | None,
        Parameter(negative=(), show_default=False, help="What it may do; give it twice for both. [default: both]"),
    ] = None,
    connection: Connection | None = None,
) -> None:
    """Issue an API token; it is shown once."""
    connection = connected(connection)
    owner = named(user)
    request: dict[str, Any] = {"label": label}
    if expires is not None:
        request["expires_at"] = moment(expires, datetime.now(UTC))
    if scope:
        request["scopes"] = scope
    token = connection.api().post("users", owner, "tokens", body=request)
    if connection.json:
        answer_json(token)
    else:
        say(token["token"])
        note(f"Token {token['token_id']} speaks for {owner}. It is not shown again; put it into NEXUS_TOKEN.")


def ls(*, user: User = None, connection: Connection | None = None) -> None:
    """List a user's tokens."""
    connection = connected(connection)
    answer = connection.api().get("users", named(user), "tokens")
    if connection.json:
        answer_json(answer)
        return
    rows = [
        (
            one["token_id"],
            one["label"],
            ",".join(one["scopes"]),
            f"{age(one['created_at'])} ago",
            one["expires_at"] or "never",
            f"{age(one['last_used_at'])} ago" if one["last_used_at"] else "never",
        )
        for one in answer["tokens"]
    ]
    if rows:
        columns(("ID", "LABEL", "SCOPES", "CREATED", "EXPIRES", "LAST USED"), rows)
    else:
        note("There are no tokens; `nexus token new LABEL` issues one.")


def rm(
    token_id: Annotated[str, Parameter(help="Id of the token, from `nexus token ls`.")],
    /,
    *,
    user: User = None,
    connection: Connection | None = None,
) -> None:
    """Revoke a token at once."""
    connection = connected(connection)
    connection.api().delete("users", named(user), "tokens", token_id)
    if not connection.json:
        say(f"{token_id} is valid no more.")


def moment(text: str, now: datetime) -> str:
    """The moment in RFC 3339 and UTC; a date is its end, a span counts from now. Raises `WrongUsage`."""
    count, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and count.isascii() and count.isdecimal():
            then = now + int(count) * _UNITS[unit]
        else:
            then = datetime.fromisoformat(text)
            if len(text) <= len("2030-01-31"):
                then = then.replace(hour=23, minute=59, second=59)
            then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return then.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError) as exc:
        fix = "Write 2030-01-31, 2030-01-31T12:00:00Z, 12h, 30d or 8w."
        raise WrongUsage(f"{text!r} is no moment", fix=fix) from exc
