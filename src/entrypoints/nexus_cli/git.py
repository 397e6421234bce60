"""The repository in a folder, as git itself tells of it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nexus_cli.errors import RepositoryUnusable, WrongUsage

# What git sets for its hooks and aliases; it would lead to another repository than the folder's.
_ELSEWHERE: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
    }
)
_ADDRESS: Final = re.compile(
    r"(?:https?|ssh|git)://(?:[^/@:\s]+@)?[^/@\s]+/\S+|(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?![/\\]{2})\S+"
)
# Before the @ of an https address stands a token, if anything does; before that of an ssh address, a user.
_SECRET: Final = re.compile(r"https?://[^/]*@|[a-z]+://[^/@]*:[^/@]*@")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository on this machine: its top folder, what is checked out, and where it came from.

    ``branch`` is None where no branch is checked out. ``origin`` is an address that is good elsewhere too and
    holds no secret, else None. ``uncommitted`` counts the files that differ from the last commit.
    """

    folder: Path
    branch: str | None
    origin: str | None
    uncommitted: int


def look_at(folder: Path) -> Checkout:
    """What there is in the folder; raises `RepositoryUnusable` where it is no repository with a commit."""
    top = folder
    within = run(folder, "rev-parse", "--is-inside-work-tree", "--is-shallow-repository")
    if within.returncode != 0:
        if "not a git repository" in within.stderr:
            fix = "Make it one with `git init` and a commit, or give another folder or an address."
            raise RepositoryUnusable(f"{folder} is not a git repository", fix=fix)
        raise RepositoryUnusable(f"git cannot read the repository in {folder}", why=reason(within))
    in_tree, shallow = within.stdout.split()
    if run(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode != 0:
        raise RepositoryUnusable(f"The repository in {folder} has no commits", fix="Commit something first.")
    if shallow == "true":
        why = "It was cloned without its history (--depth), and git cannot send it on like that."
        fix = f"Fetch the rest with `git -C {folder} fetch --unshallow`."
        raise RepositoryUnusable(f"The repository in {folder} is not complete", why=why, fix=fix)
    uncommitted = 0
    if in_tree == "true":
        top = Path(run(folder, "rev-parse", "--show-toplevel").stdout.removesuffix("\n"))
        changes = run(folder, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z")
        uncommitted = changes.stdout.count("\0")
    branch = run(folder, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    origin = run(folder, "config", "--get", "remote.origin.url").stdout.strip()
    return Checkout(top, branch or None, origin if shareable(origin) else None, uncommitted)


def has_ref(folder: Path, ref: str) -> bool:
    """Whether there is a commit under this full name."""
    return run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").returncode == 0


def shareable(url: str) -> bool:
    """Whether this is the address of a repository that is good elsewhere too, and holds no secret."""
    return bool(_ADDRESS.fullmatch(url)) and not _SECRET.match(url)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in the folder; raises `RepositoryUnusable` where there is no git."""
    environ = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    try:
        return subprocess.run(  # noqa: S603  # no shell is in between, and options cannot come from outside
            ["git", "-C", str(folder), *arguments],  # noqa: S607  # the user's own git is wanted
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="backslashreplace",
            env={**environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as exc:
        fix = "Install git, or give the address of a repository instead of a folder."
        raise RepositoryUnusable("git is not installed", fix=fix) from exc
    except (OSError, ValueError) as exc:
        raise WrongUsage(f"git cannot be run for {folder}", why=f"{exc}.") from exc


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """What git said went wrong."""
    return done.stderr.strip() or f"git ended with {done.returncode}."
