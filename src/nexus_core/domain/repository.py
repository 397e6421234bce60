"""The repository that a workspace is for, and how it may be reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from nexus_core.errors import InvalidRequest

BRANCH: Final = r"[^\x00-\x20\x7f~^:?*\[\\-][^\x00-\x20\x7f~^:?*\[\\]{0,254}"
GITHUB_NAME: Final = r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
_BRANCH = re.compile(BRANCH)
_GITHUB_NAME = re.compile(GITHUB_NAME)
_URL = re.compile(r"(?P<scheme>https?|ssh|git)://(?P<rest>[^\x00-\x20\x7f]+)")
# git's own short form of an ssh address: [user@]host:path; a second colon would be one of its helpers, as in ext::,
# and an @ further on that of a password, as in name:password@host:path.
_SHORT = re.compile(
    r"(?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//|:)[^\x00-\x20\x7f@-][^\x00-\x20\x7f@]*"
)
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LONGEST_URL = 2000


@dataclass(frozen=True, slots=True)
class Repository:
    """What is cloned, and once it is, the commit that was checked out.

    ``bundle`` says that its content is uploaded as a git bundle; ``url``, if there is one too, is only where
    ``origin`` then points.
    """

    url: str | None = None
    owner: str | None = None
    name: str | None = None
    branch: str | None = None
    commit: str | None = None
    is_fork: bool = False
    bundle: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a private repository: a token for https, a private key for ssh. Given for one workspace alone."""

    token: str | None = field(default=None, repr=False)
    deploy_key: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.token is not None or self.deploy_key is not None


def check_repository(repository: Repository, credentials: Credentials) -> Repository:
    """The repository with its URL worked out, if git can be asked for it, else `InvalidRequest`."""
    url = repository.url
    for key, value in (("owner", repository.owner), ("name", repository.name)):
        if value is not None and not _GITHUB_NAME.fullmatch(value):
            raise _refusal(key, f"{value[:60]!r} is not a name on GitHub", "letters, digits, '.', '_' and '-'")
    if url is None and repository.owner and repository.name:
        url = f"https://github.com/{repository.owner}/{repository.name}.git"
    if url is None and not repository.bundle:
        raise _refusal("url", "The repository has no address", "give url, or owner and name")
    if url is not None:
        check_url(url)
    if repository.branch is not None and not is_branch(repository.branch):
        raise _refusal("branch", f"{repository.branch[:60]!r} is not a branch's name", "not a branch name")
    _check_credentials(url, repository, credentials)
    owner, name = _names_in(url)
    return Repository(
        url=url,
        owner=repository.owner or owner,
        name=repository.name or name,
        branch=repository.branch,
        is_fork=repository.is_fork,
        bundle=repository.bundle,
    )


def check_url(url: str) -> None:
    """Raise `InvalidRequest` unless this is an https, http, ssh or git address without a password in it."""
    match = _URL.fullmatch(url)
    if len(url) > _LONGEST_URL or not (match or _SHORT.fullmatch(url)):
        raise _refusal(
            "url",
            f"{_without_password(url)[:80]!r} is not the address of a repository",
            "must be an https, ssh or git address, or user@host:path",
            fix="A repository on your own disk is sent along with `nexus create --repo PATH`.",
        )
    if match is None:
        return
    host = match["rest"].partition("/")[0]
    account, at, place = host.rpartition("@")
    if "?" in url or "#" in url:
        raise _refusal("url", "The address goes on after the repository's path", "must not have ? or #")
    if not _HOST.fullmatch(place) or host.startswith("-"):
        raise _refusal("url", "The address names no host", "must name a host, and a port as a number if any")
    if at and ":" in account:
        raise _refusal("url", "The address holds a password", "must not hold a password; send it as repo.token")
    if at and match["scheme"] in ("http", "https") and len(account) >= 20:
        raise _refusal("url", "The address seems to hold a token", "must not hold a token; send it as repo.token")


def is_branch(name: str) -> bool:
    """Whether git takes this as the name of a branch or tag (`git check-ref-format`)."""
    return bool(
        _BRANCH.fullmatch(name)
        and ".." not in name
        and "@{" not in name
        and "//" not in name
        and not name.startswith("/")
        and not name.endswith(("/", ".", ".lock"))
        and name != "@"
        and not any(part.startswith(".") or part.endswith(".lock") for part in name.split("/"))
    )


def is_ssh(url: str) -> bool:
    """Whether git reaches this address by ssh."""
    return url.startswith("ssh://") or "://" not in url


def _check_credentials(url: str | None, repository: Repository, credentials: Credentials) -> None:
    token, key = credentials.token, credentials.deploy_key
    if repository.bundle and credentials:
        raise _refusal("bundle", "An uploaded repository needs no credentials", "takes neither token nor deploy_key")
    if token is not None:
        if not token or len(token) > 4096 or not (token.isascii() and token.isprintable()) or " " in token:
            raise _refusal("token", "The token cannot be used", "must be printable ASCII without spaces")
        if url is None or is_ssh(url) or url.startswith("git://"):
            raise _refusal("token", "A token opens https addresses only", "needs an https address")
    if key is not None:
        lines = key.strip().splitlines()
        framed = len(lines) > 2 and lines[0].startswith("-----BEGIN ") and lines[-1].startswith("-----END ")
        if not framed or len(key) > 32_768 or "\0" in key or not key.isascii():
            raise _refusal(
                "deploy_key", "The deploy key cannot be used", "must be a private key as ssh-keygen writes it"
            )
        if url is None or not is_ssh(url):
            raise _refusal("deploy_key", "A deploy key opens ssh addresses only", "needs an ssh address")


def _names_in(url: str | None) -> tuple[str | None, str | None]:
    """The last two parts of the path, which most hosts use as owner and name."""
    if url is None:
        return None, None
    path = url.partition("://")[2].partition("/")[2] if "://" in url else url.partition(":")[2]
    parts = [part for part in path.removesuffix("/").removesuffix(".git").split("/") if part]
    name = parts[-1] if parts else None
    return (parts[-2] if len(parts) > 1 else None), name


def _without_password(url: str) -> str:
    return re.sub(r"//.*@", "//…@", url, flags=re.DOTALL)


def _refusal(key: str, what: str, reason: str, *, fix: str = "") -> InvalidRequest:
    return InvalidRequest(what, fix=fix, details={f"$.repo.{key}": reason})
