"""Workspaces, in the table ``workspaces``; with a deletion go their rows in ``services`` and ``recipes``.

"Newest first" is by creation, then by rowid, so that pages do not overlap where two were created in
the same microsecond.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.repository import Repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.user import PublicKey
from nexus_core.domain.workspace import Failure, Workspace
from nexus_core.errors import WorkspaceAlreadyExists, WorkspaceNotFound
from nexus_core.ports.records import WorkspaceFilter, Workspaces
from nexus_sqlite import recipes, services
from nexus_sqlite.errors import is_unique_violation
from nexus_sqlite.moments import from_micros, from_micros_or_null, to_micros, to_micros_or_null

ADD: Final = """
INSERT INTO workspaces (
    id, user_id, name, status, provider, image, repo_url, repo_owner, repo_name, repo_branch, repo_commit, repo_is_fork,
    repo_bundle, cpu, memory, disk, ssh_port, container_id, node, host_key, host_key_fingerprint,
    authorized_fingerprint, provisioned, notes, error_code, error_message, error_step, created_at, updated_at,
    started_at, stopped_at, last_activity_at, deleted_at
) VALUES (
    :id, :user_id, :name, :status, :provider, :image, :repo_url, :repo_owner, :repo_name, :repo_branch, :repo_commit,
    :repo_is_fork, :repo_bundle, :cpu, :memory, :disk, :ssh_port, :container_id, :node, :host_key,
    :host_key_fingerprint, :authorized_fingerprint, :provisioned, :notes, :error_code, :error_message, :error_step,
    :created_at, :updated_at, :started_at, :stopped_at, :last_activity_at, :deleted_at
)
"""
# All but what a workspace is born with: its id, owner, name, provider, image and time of creation.
UPDATE: Final = """
UPDATE workspaces
SET status = :status, repo_url = :repo_url, repo_owner = :repo_owner, repo_name = :repo_name,
    repo_branch = :repo_branch, repo_commit = :repo_commit, repo_is_fork = :repo_is_fork, repo_bundle = :repo_bundle,
    cpu = :cpu, memory = :memory, disk = :disk, ssh_port = :ssh_port, container_id = :container_id, node = :node,
    host_key = :host_key, host_key_fingerprint = :host_key_fingerprint,
    authorized_fingerprint = :authorized_fingerprint, provisioned = :provisioned, notes = :notes,
    error_code = :error_code, error_message = :error_message, error_step = :error_step, updated_at = :updated_at,
    started_at = :started_at, stopped_at = :stopped_at, last_activity_at = :last_activity_at, deleted_at = :deleted_at
WHERE id = :id
"""
_SELECT: Final = """
SELECT w.id, w.user_id, u.github_username, w.name, w.status, w.provider, w.image, w.cpu, w.memory, w.disk, w.ssh_port,
       w.container_id, w.node, w.host_key, w.host_key_fingerprint, w.authorized_fingerprint, w.provisioned, w.notes,
       w.error_code, w.error_message, w.error_step, w.created_at, w.updated_at, w.started_at, w.stopped_at,
       w.last_activity_at, w.deleted_at, w.repo_url, w.repo_owner, w.repo_name, w.repo_branch, w.repo_commit,
       w.repo_is_fork, w.repo_bundle
FROM workspaces AS w CROSS JOIN users AS u ON u.id = w.user_id
"""
_COUNT: Final = "SELECT count(*) FROM workspaces AS w "
_NEWEST_FIRST: Final = " ORDER BY w.created_at DESC, w.rowid DESC"
_PAGED: Final = _NEWEST_FIRST + " LIMIT :limit OFFSET :offset"

GET: Final = _SELECT + "WHERE w.id = ?"
BY_NAME: Final = _SELECT + "WHERE w.user_id = ? AND w.name = ? AND w.deleted_at IS NULL"
ID_BY_NAME: Final = "SELECT id FROM workspaces WHERE user_id = ? AND name = ? AND deleted_at IS NULL"
# A list of values is one parameter, as JSON, so that no SQL is put together while running.
_HAS_STATUS: Final = "WHERE w.status IN (SELECT value FROM json_each(?))"
WITH_STATUS: Final = _SELECT + _HAS_STATUS + _NEWEST_FIRST
OF_OWNER: Final = _SELECT + "WHERE w.user_id = ? AND w.deleted_at IS NULL" + _NEWEST_FIRST
IDS_OF_OWNER: Final = """
SELECT id FROM workspaces WHERE user_id = ? AND deleted_at IS NULL ORDER BY created_at DESC, rowid DESC
"""
# One count a status, each from the index: grouping would walk the whole table.
COUNT_BY_STATUS: Final = """
SELECT wanted.value, (SELECT count(*) FROM workspaces AS w WHERE w.status = wanted.value) FROM json_each(?) AS wanted
"""
PURGE_DELETED: Final = "DELETE FROM workspaces WHERE deleted_at < ?"

# By (is the owner given, is the status given). A status that is given says itself whether deleted ones are meant.
_WHERE: Final = {
    (False, False): "WHERE w.deleted_at IS NULL",
    (False, True): "WHERE w.status = :status",
    (True, False): "WHERE w.user_id = :owner_id AND w.deleted_at IS NULL",
    (True, True): "WHERE w.user_id = :owner_id AND w.status = :status",
}
PAGE: Final = {given: _SELECT + where + _PAGED for given, where in _WHERE.items()}
COUNT_ALL: Final = {given: _COUNT + where for given, where in _WHERE.items()}

_ALL_STATUSES: Final = json.dumps([status.value for status in Status])


class SqliteWorkspaces(Workspaces):
    """`Workspaces` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, workspace: Workspace) -> None:
        try:
            self._connection.execute(ADD, _row(workspace))
        except sqlite3.IntegrityError as exc:
            if not is_unique_violation(exc, "workspaces.user_id", "workspaces.name"):
                raise
            key = (workspace.owner_id, workspace.name)
            (existing,) = self._connection.execute(ID_BY_NAME, key).fetchone()
            raise WorkspaceAlreadyExists(
                f"{workspace.owner} already has a workspace named '{workspace.name}'",
                details={"workspace_id": existing},
            ) from exc

    def update(self, workspace: Workspace) -> None:
        if not self._connection.execute(UPDATE, _row(workspace)).rowcount:
            raise WorkspaceNotFound(f"Workspace {workspace.id} is gone")
        if workspace.status is Status.DELETED:
            self._connection.execute(services.REMOVE_ALL, (workspace.id,))
            self._connection.execute(recipes.REMOVE, (workspace.id,))

    def get(self, workspace_id: str) -> Workspace | None:
        row = self._connection.execute(GET, (workspace_id,)).fetchone()
        return None if row is None else _workspace(row)

    def by_name(self, owner_id: str, name: str) -> Workspace | None:
        row = self._connection.execute(BY_NAME, (owner_id, name)).fetchone()
        return None if row is None else _workspace(row)

    def page(self, which: WorkspaceFilter, *, limit: int, offset: int) -> tuple[Sequence[Workspace], int]:
        given = (which.owner_id is not None, which.status is not None)
        values = {
            "owner_id": which.owner_id,
            "status": None if which.status is None else which.status.value,
            "limit": limit,
            "offset": offset,
        }
        (total,) = self._connection.execute(COUNT_ALL[given], values).fetchone()
        return [_workspace(row) for row in self._connection.execute(PAGE[given], values).fetchall()], total

    def with_status(self, statuses: Collection[Status]) -> Sequence[Workspace]:
        wanted = json.dumps([status.value for status in statuses])
        return [_workspace(row) for row in self._connection.execute(WITH_STATUS, (wanted,)).fetchall()]

    def of_owner(self, owner_id: str) -> Sequence[Workspace]:
        return [_workspace(row) for row in self._connection.execute(OF_OWNER, (owner_id,)).fetchall()]

    def ids_of_owner(self, owner_id: str) -> Sequence[str]:
        return [workspace_id for (workspace_id,) in self._connection.execute(IDS_OF_OWNER, (owner_id,)).fetchall()]

    def count_by_status(self) -> dict[Status, int]:
        rows = self._connection.execute(COUNT_BY_STATUS, (_ALL_STATUSES,)).fetchall()
        return {Status(status): count for status, count in rows if count}

    def purge_deleted(self, before: datetime) -> int:
        return self._connection.execute(PURGE_DELETED, (to_micros(before),)).rowcount


def _row(workspace: Workspace) -> dict[str, Any]:
    repository, host_key, error = workspace.repository, workspace.host_key, workspace.error
    return {
        "id": workspace.id,
        "user_id": workspace.owner_id,
        "name": workspace.name,
        "status": workspace.status.value,
        "provider": workspace.provider,
        "image": workspace.image,
        "repo_url": repository and repository.url,
        "repo_owner": repository and repository.owner,
        "repo_name": repository and repository.name,
        "repo_branch": repository and repository.branch,
        "repo_commit": repository and repository.commit,
        "repo_is_fork": repository and repository.is_fork,
        "repo_bundle": repository and repository.bundle,
        "cpu": workspace.resources.cpu,
        "memory": workspace.resources.memory,
        "disk": workspace.resources.disk,
        "ssh_port": workspace.ssh_port,
        "container_id": workspace.container_id,
        "node": workspace.node,
        "host_key": host_key and host_key.text,
        "host_key_fingerprint": host_key and host_key.fingerprint,
        "authorized_fingerprint": workspace.authorized_fingerprint,
        "provisioned": json.dumps(sorted(workspace.provisioned)),
        "notes": json.dumps(workspace.notes),
        "error_code": error and error.code,
        "error_message": error and error.message,
        "error_step": error and error.step,
        "created_at": to_micros(workspace.created_at),
        "updated_at": to_micros(workspace.updated_at),
        "started_at": to_micros_or_null(workspace.started_at),
        "stopped_at": to_micros_or_null(workspace.stopped_at),
        "last_activity_at": to_micros_or_null(workspace.last_activity_at),
        "deleted_at": to_micros_or_null(workspace.deleted_at),
    }


# Most workspaces of a server have one of a few sizes and the same steps behind them; their values are
# immutable, so they are shared. That takes a third off the cost of a row in a long list.
@lru_cache(maxsize=256)
def _resources(cpu: int, memory: str, disk: str) -> Resources:
    return Resources(cpu=cpu, memory=memory, disk=disk)


@lru_cache(maxsize=256)
def _names(array: str) -> tuple[str, ...]:
    return tuple(json.loads(array))


def _repository(columns: tuple[Any, ...]) -> Repository | None:
    url, owner, name, branch, commit, is_fork, bundle = columns
    if is_fork is None:  # every repository is a fork or not: nothing here means that there is none
        return None
    return Repository(url, owner, name, branch, commit, is_fork=bool(is_fork), bundle=bool(bundle))


# A row that is as it was makes the same workspace: most are read far more often than they change.
@lru_cache(maxsize=4096)
def _workspace(row: tuple[Any, ...]) -> Workspace:
    (workspace_id, owner_id, owner, name, status, provider, image, cpu, memory, disk, ssh_port, container_id, node) = (
        row[:13]
    )
    (host_key, host_key_fingerprint, authorized, provisioned, notes, error_code, error_message, error_step) = row[13:21]
    (created_at, updated_at, started_at, stopped_at, last_activity_at, deleted_at) = row[21:27]
    return Workspace(
        id=workspace_id,
        owner_id=owner_id,
        owner=owner,
        name=name,
        status=Status(status),
        provider=provider,
        image=image,
        resources=_resources(cpu, memory, disk),
        ssh_port=ssh_port,
        container_id=container_id,
        node=node,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        repository=_repository(row[27:]),
        host_key=None if host_key is None else PublicKey(host_key, host_key_fingerprint),
        authorized_fingerprint=authorized,
        provisioned=frozenset(_names(provisioned)),
        error=None if error_code is None else Failure(error_code, error_message, error_step),
        notes=_names(notes),
        started_at=from_micros_or_null(started_at),
        stopped_at=from_micros_or_null(stopped_at),
        last_activity_at=from_micros_or_null(last_activity_at),
        deleted_at=from_micros_or_null(deleted_at),
    )
