"""Every statement of the SQLite store finds its rows by an index.

The statements are the public constants of the modules named here. The contract is run once more to
see that the store executes these and no others, and leaves none of them out.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar

import pytest

from contracts.store_contract import StoreContract
from nexus_core.ports.store import Store
from nexus_sqlite import SqliteStore

MODULES = (
    "users",
    "workspaces",
    "services",
    "recipes",
    "leases",
    "operations",
    "tokens",
    "events",
    "idempotency",
    "store",
    "databases",
    "migrations",
    "key_check",
)
# Begin and end of transactions, how long one waits for others, and the switch that makes a snapshot of a database in
# memory read-only.
CONTROL = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "PRAGMA busy_timeout = 0",
    "PRAGMA busy_timeout = 250",
    "PRAGMA query_only = ON",
    "PRAGMA query_only = OFF",
}
MAY_SCAN = {
    "server": "it has one row",
    "sqlite_sequence": "it has one row for each table whose ids are never given out twice",
    "sqlite_master": "SQLite keeps it without indexes; it has one row for each table and index",
    "pragma_page_count": "it is a function that answers one row",
    "pragma_page_size": "it is a function that answers one row",
    "json_each": "it is the list of values that was asked for",
    "wanted": "it is the list of statuses that was asked for",
}


def statements() -> dict[str, str]:
    """Every named statement; names with an underscore are parts of others."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name, value in vars(importlib.import_module(f"nexus_sqlite.{module}")).items():
            several = value if isinstance(value, dict) else {"": value}
            for key, sql in several.items():
                if (
                    name.isupper()
                    and not name.startswith("_")
                    and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", str(sql))
                ):
                    found[f"{module}.{name}{key or ''}"] = sql
    return found


STATEMENTS = statements()


def plan_of(store: SqliteStore, sql: str) -> list[str]:
    """What SQLite would do, one line for each table it goes to."""
    named = re.findall(r":(\w+)", sql)
    nothing = dict.fromkeys(named) if named else [None] * sql.count("?")
    return [line for *_, line in store._writer.connection.execute(f"EXPLAIN QUERY PLAN {sql}", nothing).fetchall()]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_walks_through_a_table(name: str) -> None:
    with closing(SqliteStore.in_memory()) as store:
        plan = plan_of(store, STATEMENTS[name])
    walks = [match[1] for line in plan if (match := re.match(r"SCAN (\S+)", line))]
    assert [table for table in walks if table not in MAY_SCAN] == [], plan


@pytest.mark.parametrize(
    "name", [name for name in STATEMENTS if re.search("PAGE|OF_OWNER|services.OF_WORKSPACE", name)]
)
def test_lists_come_in_order_from_the_index(name: str) -> None:
    """Sorting would read all rows for the sake of one page."""
    with closing(SqliteStore.in_memory()) as store:
        plan = plan_of(store, STATEMENTS[name])
    assert not [line for line in plan if "TEMP B-TREE" in line], plan


def test_a_statement_that_walks_is_noticed() -> None:
    with closing(SqliteStore.in_memory()) as store:
        assert plan_of(store, "SELECT * FROM users WHERE email = ?") == ["SCAN users"]


class TestWhatIsExecuted(StoreContract):
    """The contract, with an eye on what reaches SQLite."""

    seen: ClassVar[set[str]] = set()
    ran: ClassVar[set[str]] = set()

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest) -> Iterator[Store]:
        executed: set[str] = set()
        store = SqliteStore.in_memory()
        store._writer.connection.set_trace_callback(executed.add)
        yield store
        store.close()
        self.ran.add(request.node.originalname)
        self.seen.update(name for sql in executed if (name := self._name_of(sql)))
        assert [sql for sql in executed if self._name_of(sql) is None] == []

    @staticmethod
    def _name_of(executed: str) -> str | None:
        """The statement whose parameters were filled in; "" for control, None for none of ours."""
        if executed in CONTROL or executed.startswith("-- "):  # what SQLite itself does for a cascade
            return ""
        return next((name for name, form in FORMS.items() if form.fullmatch(executed)), None)

    def test_zz_no_statement_was_left_out(self) -> None:
        """Runs last: methods run in the order of their definition, inherited ones first."""
        if self.ran < {name for name in dir(StoreContract) if name.startswith("test_")}:
            pytest.skip("tells something only after the whole contract")
        at_opening = {name for name in STATEMENTS if name.startswith(("migrations.", "key_check.", "databases.SERVER"))}
        assert set(STATEMENTS) - at_opening - self.seen == set()


def _form(sql: str) -> re.Pattern[str]:
    """A pattern of the statement with whatever values in the places of its parameters."""
    return re.compile(re.sub(r"\\\?|:\w+", "(?:NULL|-?[0-9]+|[xX]?'(?:[^']|'')*')", re.escape(sql)))


FORMS = {name: _form(sql) for name, sql in STATEMENTS.items()}
