"""What ``--repo`` names, and the secret that opens it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nexus_cli.errors import FileUnreadable, WrongUsage

TOKEN_VARIABLE: Final = "NEXUS_REPO_TOKEN"  # noqa: S105  # a name, not a token
_LONGEST_SECRET: Final = 32_768
_ON_GITHUB: Final = re.compile(r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100})")
_SHORT_SSH: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)\S+")
_HOW: Final = "Give a folder, an address such as https://github.com/my-org/my-project.git, or OWNER/NAME on GitHub."


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository that the server clones; ``request`` is the ``repo`` of the request that creates the workspace."""

    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Local:
    """A folder of this machine."""

    folder: Path


def source_of(
    repo: str | None, *, branch: str | None, token_file: str | None, deploy_key: str | None
) -> Remote | Local | None:
    """What the options of ``nexus create`` name together; raises `WrongUsage` or `FileUnreadable`."""
    if repo is None:
        for option, value in (("--branch", branch), ("--token-file", token_file), ("--deploy-key", deploy_key)):
            if value is not None:
                raise WrongUsage(f"{option} needs a repository", fix="Name it with --repo.")
        return None
    folder = Path(repo).expanduser()
    if folder.is_dir():
        if token_file is not None or deploy_key is not None:
            raise WrongUsage(f"{repo} is a folder, which needs no token or key", fix="Leave it out.")
        return Local(folder)
    request = _address(repo)
    if branch is not None:
        request["branch"] = branch
    return Remote(request | _opened_by(token_file, deploy_key, request))


def _opened_by(token_file: str | None, deploy_key: str | None, request: dict[str, Any]) -> dict[str, str]:
    if token_file is not None and deploy_key is not None:
        why = "A token opens https addresses, a deploy key opens ssh addresses."
        raise WrongUsage("--token-file and --deploy-key cannot be given together", why=why, fix="Give one of them.")
    if token_file is not None:
        return {"token": secret(token_file, what="token").strip()}
    if deploy_key is not None:
        return {"deploy_key": _private_key(deploy_key)}
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return {"token": token} if token and _is_safe_for_a_token(request) else {}


def secret(path: str, *, what: str) -> str:
    """The text of a file that holds a secret, or of standard input for ``-``; raises `FileUnreadable`."""
    try:
        if path == "-":
            text = sys.stdin.read(_LONGEST_SECRET + 1)
        else:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib cannot read up to a limit
                text = file.read(_LONGEST_SECRET + 1)
    except OSError as exc:
        raise FileUnreadable(f"The file {path} with the {what} cannot be read", why=f"{exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise FileUnreadable(f"{path} is not a text file", fix=f"Give a file that holds the {what}.") from exc
    if not text.strip():
        raise FileUnreadable(f"{path} is empty", fix=f"Give a file that holds the {what}.")
    if len(text) > _LONGEST_SECRET:
        raise FileUnreadable(f"{path} is too long for a {what}", fix=f"Give a file that holds the {what} alone.")
    return text


def _private_key(path: str) -> str:
    text = secret(path, what="deploy key")
    if "PRIVATE KEY" not in text:
        fix = "Give the file without .pub, as ssh-keygen wrote it."
        raise FileUnreadable(f"{path} holds no private key", fix=fix)
    return text.strip() + "\n"


def _address(repo: str) -> dict[str, Any]:
    on_github = _ON_GITHUB.fullmatch(repo)
    if on_github and on_github["name"] not in (".", ".."):
        return {"owner": on_github["owner"], "name": on_github["name"].removesuffix(".git")}
    if re.match(r"[a-z][a-z0-9+.-]*://", repo) or _SHORT_SSH.fullmatch(repo):
        return {"url": repo}
    raise WrongUsage(f"{repo!r} is no folder here, and no address of a repository", fix=_HOW)


def _is_safe_for_a_token(request: dict[str, Any]) -> bool:
    """Whether a token that lies in the environment may go there: over https, and not to an ssh address."""
    return "owner" in request or str(request["url"]).startswith("https://")
