"""The schema of the SQLite store: what its rules say, and the page about it."""

from __future__ import annotations

import re
import runpy
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import pytest
from sqlite_utils import Database

from contracts.samples import deleted, recipe, service, workspace
from contracts.store_contract import fill
from nexus_core.domain.host_ports import PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, OperationStatus, StepStatus
from nexus_core.domain.service import Health, ServiceStatus
from nexus_sqlite import SqliteStore, migrations, schema_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "database.md"


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    with closing(SqliteStore.in_memory()) as store:
        yield store


@pytest.fixture
def db(store: SqliteStore) -> Database:
    return Database(store._writer.connection, execute_plugins=False)


@pytest.mark.parametrize(
    ("table", "column", "enumeration"),
    [
        ("workspaces", "status", Status),
        ("services", "status", ServiceStatus),
        ("services", "health", Health),
        ("port_allocations", "kind", PortKind),
        ("operations", "kind", OperationKind),
        ("operations", "status", OperationStatus),
        ("operation_steps", "status", StepStatus),
    ],
)
def test_a_column_takes_what_its_enumeration_has(
    db: Database, table: str, column: str, enumeration: type[StrEnum]
) -> None:
    """A value that is added to the code needs a migration."""
    rule = re.search(rf"\b{column} TEXT NOT NULL CHECK \({column} IN \(([^)]*)\)\)", db.table(table).schema)
    assert rule is not None
    assert re.findall(r"'(\w+)'", rule[1]) == [value.value for value in enumeration]


def test_every_table_is_strict(db: Database) -> None:
    ours = [table for table in db.tables if not table.name.startswith(("sqlite_", "_sqlite_"))]
    assert len(ours) == 11
    assert [table.name for table in ours if not table.strict] == []


def test_every_reference_has_an_index(db: Database) -> None:
    """Else removing what is referred to walks through the whole table that refers to it."""
    without = [
        (table.name, key.column)
        for table in db.tables
        for key in table.foreign_keys
        if not any(index.columns[0] == key.column and "WHERE" not in sql_of(db, index.name) for index in table.indexes)
    ]
    assert without == []


def sql_of(db: Database, index: str) -> str:
    """The statement that made the index; empty for those of keys."""
    rows = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [index]).fetchall()
    return "".join(sql or "" for (sql,) in rows)


def test_nothing_is_left_of_services_and_recipe_when_their_workspace_is_deleted(
    store: SqliteStore, db: Database
) -> None:
    fill(store, workspace(1), workspace(2))
    with store.transaction() as records:
        for number in (1, 2):
            records.services.replace(workspace(number).id, [service("web", number), service("db", number)])
            records.recipes.set(workspace(number).id, recipe())
        records.workspaces.update(workspace(1, status=Status.DELETING))
    assert (db.table("services").count, db.table("recipes").count) == (4, 2)
    with store.transaction() as records:
        records.workspaces.update(deleted(1))
    left = [{row["workspace_id"] for row in db.table(table).rows} for table in ("services", "recipes")]
    assert left == [{workspace(2).id}] * 2


def test_there_is_one_server(db: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO server (id, created_at) VALUES ('abcdefghijkl', 0)")


def test_steps_are_numbered_from_one_without_a_gap() -> None:
    numbers = [int(step.__name__[1:5]) for step in migrations.STEPS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_migrating_again_changes_nothing(store: SqliteStore) -> None:
    mark, version = store.server_id, store.status().schema_version
    migrations.migrate(store._writer.connection)
    assert (store.server_id, store.status().schema_version) == (mark, version)


def test_an_empty_database_has_version_0() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert migrations.schema_version(connection) == 0


def test_the_page_about_the_database_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text() == schema_page.page(), (
        "run: python -m nexus_sqlite.schema_page > docs/reference/database.md"
    )
    runpy.run_path(str(schema_page.__file__), run_name="__main__")
    assert capsys.readouterr().out == schema_page.page()


def test_every_table_on_the_page_says_what_it_is_for() -> None:
    sections = schema_page.page().split("\n## ")[1:]
    assert len(sections) == 11
    assert [section.splitlines()[0] for section in sections if not section.splitlines()[1].endswith(".")] == []
