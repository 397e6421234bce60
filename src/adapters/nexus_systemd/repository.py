"""Cloning inside an instance, with what opens the repository in files that only dev can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlsplit

from nexus_core.domain.repository import is_ssh
from nexus_core.errors import BundleMissing, CloneFailed, ProviderFailed
from nexus_core.ports.interior import Interior
from nexus_core.ports.workbench import Checkout, Run, Source
from nexus_systemd.archive import DEV, TOOLS, File, pack, tool, unpack
from nexus_systemd.tasks import carry_out, settings_in, unit_file

REPOSITORY: Final = "/home/dev/workspace"
_MINE: Final = "/home/dev/.nexus"
_WHAT: Final = "/etc/nexus/clone"
_BUNDLE: Final = f"{_MINE}/repository.bundle"
_SECONDS = 30.0
_LONGEST = 4000  # characters of git's output that an error shows
_ACCOUNT = "x-access-token"  # GitHub's name for whoever brings a token; others take any

# What git says of a repository: its branch, if HEAD is on one, and its commit, if there is one.
_STATE = """
cd /home/dev/workspace 2>/dev/null && [ -e .git ] || exit 3
echo "branch=$(git symbolic-ref --quiet --short HEAD)"
echo "commit=$(git rev-parse --quiet --verify HEAD)"
"""


async def clone(interior: Interior, instance: str, source: Source, run: Run) -> Checkout:
    """Have the repository in place, and tell what was checked out; see `Workbench.clone`."""
    present = await _state(interior, instance)
    if present is not None:
        return present
    if source.repository.bundle and source.bundle_path is None:
        raise BundleMissing("The repository's bundle has not arrived")
    archive = pack(_files(source, run))
    await unpack(interior, instance, archive, purpose="clone", instead_of=[_WHAT])
    if source.bundle_path is not None:
        await interior.upload(instance, _BUNDLE, source.bundle_path, mode=0o600, uid=DEV)
    outcome = await carry_out(interior, instance, "clone", run)
    present = await _state(interior, instance) if outcome.succeeded else None
    if present is None:
        raise await _failure(interior, instance, source)
    return present


def _files(source: Source, run: Run) -> Iterator[File]:
    url, credentials = source.repository.url or "", source.credentials
    yield tool("clone.sh")
    yield unit_file("clone", f"{TOOLS}/clone", run)
    yield File(f"{_WHAT}/url", url)
    yield File(f"{_WHAT}/branch", source.repository.branch or "")
    yield File(f"{_WHAT}/ssh", _ssh_command(url, has_key=credentials.deploy_key is not None))
    if credentials.token is not None:
        yield File(f"{_MINE}/git-credentials", _credential(url, credentials.token), mode=0o600, uid=DEV)
    if credentials.deploy_key is not None:
        key = credentials.deploy_key.strip().replace("\r\n", "\n") + "\n"
        yield File(f"{_MINE}/deploy_key", key, mode=0o600, uid=DEV)


def _ssh_command(url: str, *, has_key: bool) -> str:
    """How git is to call ssh: nobody is there to be asked, and the host's key is taken as it first shows itself."""
    if not url or not is_ssh(url):
        return ""
    key = f" -i {_MINE}/deploy_key -o IdentitiesOnly=yes" if has_key else ""
    return f"ssh{key} -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=20"


def _credential(url: str, token: str) -> str:
    """The line for git's own credential store."""
    address = urlsplit(url)
    place = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{quote(address.username or _ACCOUNT, safe='')}:{quote(token, safe='')}@{place}\n"


async def _state(interior: Interior, instance: str) -> Checkout | None:
    """What is checked out, or None while there is no repository."""
    command = ["/usr/sbin/runuser", "-u", "dev", "--", "/bin/sh", "-c", _STATE]
    done = await interior.run(instance, command, within=_SECONDS)
    if done.exit_code == 3:
        return None
    said = settings_in(done.output)
    if "branch" not in said or "commit" not in said:
        raise ProviderFailed("git inside the workspace does not answer", why=done.output.strip()[-200:])
    return Checkout(said["branch"] or None, said["commit"] or None)


async def _failure(interior: Interior, instance: str, source: Source) -> CloneFailed:
    """Why git could not, in its own words, and what could help."""
    output = await interior.read(instance, f"{_MINE}/output", limit=4 << 20) or b""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Cloning into")][-8:]
    name = source.repository.url or "the uploaded bundle"
    return CloneFailed(
        f"{name} could not be cloned", why="git says: " + "\n".join(said)[-_LONGEST:], fix=_way_out(said, source)
    )


def _way_out(said: list[str], source: Source) -> str:
    text = "\n".join(said).lower()
    ways = (
        (("remote branch", "not found in upstream"), f"There is no branch {source.repository.branch!r}: name another."),
        (("permission denied (publickey",), "Give a deploy key for it (`repo.deploy_key`), or use its https address."),
        (
            ("could not read username", "authentication failed", "403", "401"),
            "It is private or does not exist: give a token for it (`repo.token`), or check the address.",
        ),
        (
            ("repository not found", "not found", "does not appear to be a git"),
            "Check the address, and that it is public.",
        ),
        (
            ("could not resolve", "connection refused", "timed out", "unable to connect", "no route to host"),
            "Check the host's name, and that workspaces reach it, then start the workspace again.",
        ),
        (("is not empty",), "Move away what is in the folder, then start the workspace again."),
    )
    otherwise = "Make it anew with `git bundle create`, and send it again." if source.repository.bundle else ""
    return next((way for words, way in ways if any(word in text for word in words)), otherwise)
