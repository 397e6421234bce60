"""``nexus register`` and ``nexus rotate-key``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from nexus_cli.api import SLOW
from nexus_cli.connection import Connection, connected
from nexus_cli.errors import FileUnreadable, WrongUsage
from nexus_cli.screen import answer_json, say

_LONGEST_KEY = 16_384  # the largest RSA keys in use have a quarter of this

User = Annotated[
    str | None, Parameter(alias="--owner", env_var="NEXUS_USER", help="GitHub name of the user it is about.")
]


def register(
    name: Annotated[str, Parameter(help="The user's GitHub name.")],
    /,
    *,
    key: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help="File with the public key that opens the workspaces; - is stdin."),
    ],
    github_id: Annotated[int | None, Parameter(help="The account's number at GitHub.")] = None,
    email: Annotated[str | None, Parameter(help="E-mail address.")] = None,
    connection: Connection | None = None,
) -> None:
    """Register a GitHub user and the key that opens its workspaces."""
    connection = connected(connection)
    if github_id is None:
        fix = f"Look up `id` at https://api.github.com/users/{name}, and give it with --github-id."
        raise WrongUsage("The account's number at GitHub is missing", why="A name can change hands.", fix=fix)
    request: dict[str, Any] = {"github_username": name, "github_id": github_id, "ssh_pubkey": public_key(key)}
    if email is not None:
        request["email"] = email
    user = connection.api().post("users", "register-github", body=request)
    if connection.json:
        answer_json(user)
    else:
        say(f"{user['github_username']} is registered with key {user['ssh_pubkey_fingerprint']}.")


def rotate_key(
    key: Annotated[str, Parameter(allow_leading_hyphen=True, help="File with the new public key; - is stdin.")],
    /,
    *,
    user: User = None,
    connection: Connection | None = None,
) -> None:
    """Exchange a user's SSH key, in every running workspace too."""
    connection = connected(connection)
    owner = named(user)
    body = {"ssh_pubkey": public_key(key)}
    changed = connection.api().put("users", owner, "ssh-key", body=body, timeout=SLOW)
    if connection.json:
        answer_json(changed)
    else:
        say(f"{changed['github_username']}'s workspaces open with key {changed['ssh_pubkey_fingerprint']} now.")


def named(user: str | None) -> str:
    """The user's name, or `WrongUsage` where none was given."""
    if not user:
        raise WrongUsage("The user is missing", fix="Give the GitHub name with --user, or in NEXUS_USER.")
    return user


def public_key(path: str) -> str:
    """The text of a public key file, or of standard input for ``-``.

    A private key is never sent anywhere: raises `FileUnreadable` for one, as for a file that
    cannot be read or is far too long.
    """
    try:
        if path == "-":
            text = sys.stdin.read(_LONGEST_KEY + 1)
        else:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib cannot read up to a limit
                text = file.read(_LONGEST_KEY + 1)
    except OSError as exc:
        raise FileUnreadable(f"The key file {path} cannot be read", why=f"{exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise FileUnreadable(f"{path} is not a text file", fix="Give the .pub file of an SSH key.") from exc
    if "PRIVATE KEY" in text:
        raise FileUnreadable(f"{path} holds a private key, which nobody else should see", fix=f"Give {path}.pub.")
    if len(text) > _LONGEST_KEY:
        raise FileUnreadable(f"{path} is too long for a public key", fix="Give the .pub file of an SSH key.")
    return text.strip()
