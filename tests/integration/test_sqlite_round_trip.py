"""Whatever text a service, a recipe or a repository holds, the SQLite store gives it back unchanged."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from contracts.samples import NOW, workspace
from contracts.store_contract import fill
from nexus_core.domain.recipe import Asked, Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import CheckType, Health, HealthCheck, Service, ServiceSpec, ServiceStatus
from nexus_sqlite import SqliteStore

# What the domain's checks let through: any text that has no NUL and can be encoded.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", "'", '"', "\\", "a\nb\r\n", "O'Neill; DROP TABLE services --", "été", "🦊👩‍👩‍👧", "\u2028", "{}", "null", "?"]
)
TEXTS = st.lists(TEXT, max_size=4).map(tuple)
ENV = st.dictionaries(TEXT, TEXT, max_size=4)
PORT = st.none() | st.integers(1, 65535)
SECONDS = st.floats(0, 3600)
WHEN = st.timedeltas(timedelta(0), timedelta(days=20_000)).map(lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since)

CHECKS = st.builds(
    HealthCheck,
    type=st.sampled_from(CheckType),
    path=TEXT,
    expected_status=st.none() | st.integers(100, 599),
    command=st.none() | TEXT,
    interval=SECONDS,
    timeout=SECONDS,
    retries=st.integers(1, 1000),
    start_period=SECONDS,
)
SPECS = st.builds(
    ServiceSpec,
    name=TEXT,
    command=st.none() | TEXT,
    port=PORT,
    depends_on=TEXTS,
    env=ENV,
    health_check=CHECKS,
    expose=st.booleans(),
)
SERVICES = st.builds(
    Service,
    workspace_id=st.just(workspace().id),
    spec=SPECS,
    created_at=WHEN,
    status=st.sampled_from(ServiceStatus),
    health=st.sampled_from(Health),
    mapped_port=PORT,
    last_check=st.none() | WHEN,
    error=st.none() | TEXT,
)
RECIPES = st.builds(
    Recipe,
    setup=TEXTS,
    post_start=TEXTS,
    pre_stop=TEXTS,
    env=ENV,
    credentials=st.builds(Credentials, token=st.none() | TEXT, deploy_key=st.none() | TEXT),
    asked=st.builds(
        Asked,
        setup=TEXTS,
        resources=st.frozensets(st.sampled_from(["cpu", "memory", "disk"])),
        services=st.booleans(),
    ),
)
REPOSITORIES = st.builds(
    Repository,
    url=st.none() | TEXT,
    owner=st.none() | TEXT,
    name=st.none() | TEXT,
    branch=st.none() | TEXT,
    commit=st.none() | TEXT,
    is_fork=st.booleans(),
    bundle=st.booleans(),
)


@given(st.lists(SERVICES, max_size=4, unique_by=lambda one: one.name))
def test_services(services: list[Service]) -> None:
    with closing(SqliteStore.in_memory()) as store:
        fill(store, workspace())
        with store.transaction() as records:
            records.services.replace(workspace().id, services)
        with store.snapshot() as records:
            assert records.services.of_workspace(workspace().id) == services
            for one in services:
                assert records.services.get(workspace().id, one.name) == one


@given(RECIPES)
def test_recipes(recipe: Recipe) -> None:
    with closing(SqliteStore.in_memory()) as store:
        fill(store, workspace())
        with store.transaction() as records:
            records.recipes.set(workspace().id, recipe)
        with store.snapshot() as records:
            assert records.recipes.get(workspace().id) == recipe


@given(st.none() | REPOSITORIES)
def test_repositories(repository: Repository | None) -> None:
    with closing(SqliteStore.in_memory()) as store:
        asked = workspace(repository=repository, created_at=NOW)
        fill(store, asked)
        with store.snapshot() as records:
            assert records.workspaces.get(asked.id) == asked
