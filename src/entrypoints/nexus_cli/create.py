"""``nexus create``, ``nexus send`` and ``nexus start``: ask for it, then watch it come up."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nexus_cli.api import Api
from nexus_cli.coming_up import until_running
from nexus_cli.connection import Connection, connected
from nexus_cli.errors import CommandError, RepositoryNotSent
from nexus_cli.names import checked_id, workspace_id
from nexus_cli.screen import answer_json, note, say
from nexus_cli.workspaces import Name, Owner

if TYPE_CHECKING:
    from nexus_cli.bundles import Bundle

Wait = Annotated[bool, Parameter(show_default=False, help="Watch it until it runs, or only ask for it.")]


def create(
    name: Annotated[str, Parameter(help="Name of the workspace, such as my-project.")],
    /,
    *,
    repo: Annotated[
        str | None,
        Parameter(help="What to work on: a folder of this machine, an address, or OWNER/NAME on GitHub."),
    ] = None,
    branch: Annotated[
        str | None, Parameter(help="Branch to check out, instead of the one that is current there.")
    ] = None,
    token_file: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="File with a token that opens the repository over https; - is stdin. Else NEXUS_REPO_TOKEN.",
        ),
    ] = None,
    deploy_key: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True, help="File with a private key that opens the repository over ssh; - is stdin."
        ),
    ] = None,
    setup: Annotated[
        list[str] | None,
        Parameter(
            negative=(),
            allow_leading_hyphen=True,
            help="Shell line to run once after cloning; may be given repeatedly.",
        ),
    ] = None,
    user: Annotated[str | None, Parameter(alias="--owner", help="Whose it shall be; for the administrator.")] = None,
    image: Annotated[str | None, Parameter(help="Local alias, or a remote image such as ubuntu:22.04.")] = None,
    cpu: Annotated[int | None, Parameter(help="Number of cores.")] = None,
    memory: Annotated[str | None, Parameter(help="Memory with its unit, such as 4GiB.")] = None,
    disk: Annotated[str | None, Parameter(help="Disk with its unit, such as 20GiB.")] = None,
    wait: Wait = True,
    connection: Connection | None = None,
) -> None:
    """Create a workspace and watch it come up."""
    from nexus_cli.sources import Local, source_of

    connection = connected(connection)
    api = connection.api()
    source = source_of(repo, branch=branch, token_file=token_file, deploy_key=deploy_key)
    resources = {key: value for key, value in (("cpu", cpu), ("memory", memory), ("disk", disk)) if value is not None}
    named = {"github_username": user, "image": image, "resources": resources or None, "setup": setup or None}
    request: dict[str, Any] = {"workspace_name": name}
    request |= {key: value for key, value in named.items() if value is not None}
    if isinstance(source, Local):
        from nexus_cli.bundles import bundled

        with bundled(source.folder, branch, quiet=connection.json) as bundle:
            accepted = api.post("workspaces", body={**request, "repo": bundle.request()}, key=uuid.uuid4().hex)
            _send(api, checked_id(accepted), name, bundle, source.folder, quiet=connection.json)
    else:
        repository = {} if source is None else {"repo": source.request}
        accepted = api.post("workspaces", body={**request, **repository}, key=uuid.uuid4().hex)
    if wait:
        until_running(api, checked_id(accepted), name, as_json=connection.json)
    elif connection.json:
        answer_json(accepted)
    else:
        say(f"{name} is {accepted['status']}: {accepted['workspace_id']}")
        note(f"It takes about {accepted['estimated_time_seconds']} s; watch it with `nexus show {name}`.")


def send(
    name: Name,
    folder: Annotated[Path, Parameter(help="Folder with the repository; the current one if not given.")] = Path(),
    /,
    *,
    branch: Annotated[str | None, Parameter(help="Branch to send, instead of the one that is checked out.")] = None,
    owner: Owner = None,
    wait: Wait = True,
    connection: Connection | None = None,
) -> None:
    """Send a repository to a workspace that was created from a folder and still waits for it."""
    from nexus_cli.bundles import bundled

    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    with bundled(folder.expanduser(), branch, quiet=connection.json) as bundle:
        answer = _send(api, identifier, name, bundle, folder, quiet=connection.json)
    now = api.get("workspaces", identifier, "status")
    if now["status"] in ("error", "stopped"):
        answer = api.post("workspaces", identifier, "start", body={})
    if wait:
        until_running(api, identifier, name, as_json=connection.json)
    elif connection.json:
        answer_json(answer or now)
    else:
        say(f"{name} has its repository.")


def start(
    name: Name,
    /,
    *,
    owner: Owner = None,
    wait: Wait = True,
    connection: Connection | None = None,
) -> None:
    """Start a workspace again, from where it stopped or failed."""
    connection = connected(connection)
    api = connection.api()
    identifier = workspace_id(api, name, owner)
    accepted = api.post("workspaces", identifier, "start", body={})
    if wait:
        until_running(api, identifier, name, as_json=connection.json)
    elif connection.json:
        answer_json(accepted)
    else:
        say(f"{name} is {accepted['status']}.")


def _send(api: Api, identifier: str, name: str, bundle: Bundle, folder: Path, *, quiet: bool) -> Any:
    """Send the bundle; the workspace is there already, and a failure says what can be done about that."""
    from nexus_cli.bundles import send as send_bundle

    fix = f"`nexus send {name} {folder}` sends it again, `nexus rm {name} --force` gives the workspace up."
    try:
        return send_bundle(api, identifier, bundle, quiet=quiet)
    except CommandError as error:
        why = str(error.envelope()["message"])
        details = {"workspace_id": identifier, **error.details}
        failure = RepositoryNotSent(
            f"{name} waits for its repository, which was not sent", why=why, fix=fix, details=details
        )
        failure.exit_code = error.exit_code
        raise failure from error
    except KeyboardInterrupt:
        if not quiet:
            note(f"{name} waits for its repository: {fix}")
        raise
