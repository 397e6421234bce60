"""Records for tests of stores, distinct in everything that must be unique."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import Operation, OperationKind, OperationStatus, StepStatus, plan
from nexus_core.domain.recipe import Asked, Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.service import CheckType, HealthCheck, Service, ServiceSpec
from nexus_core.domain.token import ApiToken
from nexus_core.domain.user import PublicKey, User
from nexus_core.domain.workspace import Workspace
from nexus_core.ports.records import Event, IdempotencyKey

# Not a whole second: times must be kept to the microsecond.
NOW = datetime(2026, 1, 17, 10, 30, 0, 123457, tzinfo=UTC)


def later(seconds: float) -> datetime:
    """This long after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def user(number: int = 1, **changes: Any) -> User:
    """One of many users."""
    made = User(
        id=f"user-{number:012d}",
        github_username=f"Person-{number}",
        github_id=1000 + number,
        email=f"person{number}@example.com",
        public_key=PublicKey(f"ssh-ed25519 AAAA{number}", f"SHA256:{number}"),
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(made, **changes)


def workspace(number: int = 1, owner: int = 1, **changes: Any) -> Workspace:
    """One of many workspaces of a user of `user`."""
    made = Workspace(
        id=f"ws-{number:012d}",
        owner_id=user(owner).id,
        owner=user(owner).github_username,
        name=f"work-{number}",
        status=Status.PENDING,
        provider="lxc",
        image="ubuntu:22.04",
        resources=Resources(cpu=2, memory="4GiB", disk="20GiB"),
        ssh_port=None,
        container_id=f"nexus-{number:012d}",
        node=None,
        created_at=later(number),
        updated_at=later(number),
    )
    return replace(made, **changes)


def deleted(number: int = 1, owner: int = 1, *, at: datetime = NOW, **changes: Any) -> Workspace:
    """A workspace that is gone."""
    return workspace(number, owner, status=Status.DELETED, deleted_at=at, **changes)


def repository(**changes: Any) -> Repository:
    """A repository that is cloned, every field set."""
    made = Repository(
        url="https://example.com/alice/shop.git",
        owner="alice",
        name="shop",
        branch="main",
        commit="0123456789abcdef0123456789abcdef01234567",
        is_fork=True,
        bundle=True,
    )
    return replace(made, **changes)


def service(name: str = "web", of: int = 1, *, spec: dict[str, Any] | None = None, **changes: Any) -> Service:
    """A service of a workspace of `workspace`; ``spec`` changes its specification."""
    asked = ServiceSpec(
        name=name,
        command=f"run {name} --now",
        port=8000,
        depends_on=("db", "cache"),
        env={"PASSWORD": f"secret of {name}", "EMPTY": ""},
        health_check=HealthCheck(
            type=CheckType.HTTP,
            path="/healthy",
            expected_status=204,
            command="true",
            interval=0.5,
            timeout=2.25,
            retries=3,
            start_period=10.0,
        ),
        expose=True,
    )
    made = Service(workspace_id=workspace(of).id, spec=replace(asked, **(spec or {})), created_at=NOW)
    return replace(made, **changes)


def recipe(**changes: Any) -> Recipe:
    """A recipe with something of everything."""
    made = Recipe(
        setup=("make setup", "make data"),
        post_start=("make seed",),
        pre_stop=("make dump",),
        env={"API_KEY": "secret of all", "MODE": "dev"},
        credentials=Credentials(token="secret token", deploy_key="secret key"),
        asked=Asked(setup=("npm ci",), resources=frozenset({"cpu", "memory"}), services=True),
    )
    return replace(made, **changes)


def operation(number: int = 1, of: int = 1, **changes: Any) -> Operation:
    """A queued creation of a workspace of `workspace`."""
    made = Operation(
        id=f"op-{number:012d}",
        workspace_id=workspace(of).id,
        kind=OperationKind.CREATE,
        status=OperationStatus.QUEUED,
        steps=plan(OperationKind.CREATE, workspace(of)),
        created_at=later(number),
    )
    return replace(made, **changes)


def finished(number: int = 1, of: int = 1, *, milliseconds: int = 1000, **changes: Any) -> Operation:
    """A creation that succeeded, the steps of which took so long; the clock was set back meanwhile."""
    first, *others = operation(number, of).steps
    measured = (
        replace(first, status=StepStatus.DONE, duration_ms=milliseconds - 1),
        *(replace(one, status=StepStatus.DONE, duration_ms=0) for one in others[:-2]),
        replace(others[-2], status=StepStatus.DONE, duration_ms=1),
        replace(others[-1], status=StepStatus.SKIPPED),
    )
    changes = {
        "status": OperationStatus.SUCCEEDED,
        "steps": measured,
        "started_at": later(number),
        "finished_at": later(number - 3600),
        **changes,
    }
    return operation(number, of, **changes)


def token(number: int = 1, owner: int | None = 1, **changes: Any) -> ApiToken:
    """A token of a user, or of the administrator."""
    made = ApiToken(
        id=f"token-{number:012d}",
        user_id=None if owner is None else user(owner).id,
        label=f"laptop {number}",
        digest=f"{number:064x}",
        scopes=("read", "write"),
        created_at=later(number),
    )
    return replace(made, **changes)


def event(of: int = 1, kind: str = "status", **changes: Any) -> Event:
    """Something that happened to a workspace."""
    return replace(Event(workspace_id=workspace(of).id, kind=kind, at=NOW, data={"to": "running"}), **changes)


def idempotency_key(number: int = 1, of: int = 1, **changes: Any) -> IdempotencyKey:
    """A key of a request that made a workspace."""
    made = IdempotencyKey(
        caller=user(1).id,
        key=f"key-{number}",
        request_digest=f"{number:064x}",
        workspace_id=workspace(of).id,
        created_at=later(number),
    )
    return replace(made, **changes)
