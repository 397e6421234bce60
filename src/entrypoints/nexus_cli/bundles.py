"""A repository on this machine as one file, and that file on its way to the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nexus_cli import git
from nexus_cli.api import SLOW, Api
from nexus_cli.errors import Refused, RepositoryUnusable
from nexus_cli.screen import console, note
from nexus_cli.wire import Upload
from nexus_cli.words import size as in_words

LARGEST: Final = 512 * 1024 * 1024
_WORTH_WATCHING: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A git bundle, and what the API is to know of it: the branch to check out, and where ``origin`` points."""

    path: Path
    size: int
    branch: str | None
    origin: str | None

    def request(self) -> dict[str, Any]:
        """The ``repo`` of the request that creates its workspace."""
        named = {"branch": self.branch, "url": self.origin}
        return {"bundle": True, **{key: value for key, value in named.items() if value is not None}}


@contextmanager
def bundled(folder: Path, branch: str | None, *, quiet: bool = False) -> Generator[Bundle]:
    """The repository in the folder as a bundle, which is gone after the block.

    It holds the branch, what is checked out unless another branch was named, and all tags. What is not
    committed is not in it, which is told unless ``quiet``. Raises `RepositoryUnusable`.
    """
    checkout = git.look_at(folder)
    refs = _refs(checkout, branch)
    if not quiet:
        _warn(checkout, folder)
    with tempfile.TemporaryDirectory(prefix="nexus-") as private:
        path = Path(private) / "repository.bundle"
        with nullcontext() if quiet else console(error=True).status("bundling the repository"):
            done = git.run(checkout.folder, "bundle", "create", "--quiet", str(path), *refs, "--tags")
        if done.returncode != 0:
            raise RepositoryUnusable(f"git cannot bundle the repository in {folder}", why=git.reason(done))
        size = path.stat().st_size
        if size > LARGEST:
            what = f"The repository in {folder} is too large to be sent"
            why = f"As a bundle it has {in_words(size)}; {in_words(LARGEST)} are allowed."
            raise RepositoryUnusable(what, why=why, fix="Push it somewhere, and give its address with --repo.")
        yield Bundle(path, size, branch or checkout.branch, checkout.origin)


def send(api: Api, identifier: str, bundle: Bundle, *, quiet: bool = False) -> Any:
    """Send the bundle to its workspace, with its progress on a terminal; what the server answers, if it is known."""
    with _shown(bundle.size, quiet=quiet) as sent:
        upload = Upload(bundle.path, bundle.size, sent)
        try:
            return api.put("workspaces", identifier, "repository-bundle", body=upload, timeout=SLOW)
        except Refused as refused:
            # An earlier try got there, and its answer did not come back: it is cloned by now.
            if not (refused.code == "invalid_status_transition" and refused.tries > 1):
                raise
            return None


def _refs(checkout: git.Checkout, branch: str | None) -> list[str]:
    if branch is None:
        return ["HEAD"] if checkout.branch is None else ["HEAD", f"refs/heads/{checkout.branch}"]
    if branch == checkout.branch:
        return ["HEAD", f"refs/heads/{branch}"]
    if git.has_ref(checkout.folder, f"refs/heads/{branch}"):
        return [f"refs/heads/{branch}"]
    if git.has_ref(checkout.folder, f"refs/tags/{branch}"):
        return []  # all tags are in it already, and git cannot clone what has a name twice
    fix = f"`git -C {checkout.folder} branch` lists what there is."
    raise RepositoryUnusable(f"There is no branch {branch!r} in {checkout.folder}", fix=fix)


def _warn(checkout: git.Checkout, folder: Path) -> None:
    if checkout.folder != folder.resolve():
        note(f"the repository that {folder} belongs to is sent: {checkout.folder}")
    count = checkout.uncommitted
    if count:
        files = "1 file with uncommitted changes is" if count == 1 else f"{count} files with uncommitted changes are"
        note(f"warning: {files} not sent", style="yellow")
    if (checkout.folder / ".gitmodules").exists():
        note("warning: submodules are not sent along", style="yellow")


@contextmanager
def _shown(size: int, *, quiet: bool) -> Generator[Callable[[int], None]]:
    error = console(error=True)
    if quiet or size < _WORTH_WATCHING:
        yield lambda _gone: None
        return
    if not error.is_terminal:
        note(f"sending {in_words(size)}", style="")
        yield lambda _gone: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (TextColumn("sending the repository"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*parts, TimeRemainingColumn(), console=error, transient=True) as progress:
        task = progress.add_task("", total=size)
        yield lambda gone: progress.update(task, completed=gone)
