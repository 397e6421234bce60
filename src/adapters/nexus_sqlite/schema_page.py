"""The page docs/reference/database.md, made from the tables that the migrations create.

``python -m nexus_sqlite.schema_page > docs/reference/database.md`` writes it; a test compares.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from typing import TYPE_CHECKING, Final

from nexus_sqlite import connections, migrations

if TYPE_CHECKING:
    from sqlite_utils.db import Index, Table

_HEAD: Final = """\
# The database

Everything Nexus remembers is in one SQLite file; this page is made from its schema, version {version}
(`python -m nexus_sqlite.schema_page`). All tables are STRICT. Times are microseconds since 1970 in UTC:
`SELECT datetime(created_at / 1000000, 'unixepoch') FROM users`. Columns that hold several values hold JSON.
The file may be read at any time (`sqlite3 -readonly`); writing to it is for Nexus alone.

To copy it, running or not, use `nexus backup`
([how to](../how-to/back-up-and-restore.md)): the newest changes may still be in `FILE-wal`.

Sealed columns hold secrets, encrypted with the key in a file beside the database. Nexus opens the database with
that key only: keep a copy of it too, apart from those of the database. Without it the secrets are lost, and only
they: stop the server, have `sqlite3 FILE` do this, and start it with a new key. (Of a backup that is to be restored,
do it in a copy of the backup.)

```sql
{without_key}
```
"""
FORGET_SECRETS: Final = """\
UPDATE services SET env = NULL;
UPDATE recipes SET sealed = NULL;
UPDATE server SET key_check = NULL;"""
_PURPOSE: Final = re.compile(r"^CREATE TABLE \S+ \( -- (.+)$", re.MULTILINE)
_NOTE: Final = re.compile(r"^ {4}(\w+) .*? -- (.+)$", re.MULTILINE)
_NOTE_OF_ADDED: Final = re.compile(r", (\w+) [^/\n]*/\* (.+?) \*/")
_CONDITION: Final = re.compile(r"\bWHERE (.+)$", re.DOTALL)
_CHECK: Final = re.compile(r"(?:^ {4}|, )(\w+) [^\n]*?(?:\n {8})?CHECK \(\1 IN \(\s*([^)]+)\)\)", re.MULTILINE)


def page() -> str:
    """The page as Markdown, ending with a newline."""
    from sqlite_utils import Database  # slow to import, and needed by few

    connection = sqlite3.connect(connections.MEMORY, isolation_level=None)
    try:
        migrations.migrate(connection)
        db = Database(connection, execute_plugins=False)
        tables = [db.table(name) for name in db.table_names() if not name.startswith(("sqlite_", "_sqlite_"))]
        parts = [
            _HEAD.format(version=migrations.schema_version(connection), without_key=FORGET_SECRETS),
            *map(_section, tables),
        ]
        return "\n".join(parts)
    finally:
        connection.close()


def _section(table: Table) -> str:
    purpose = _PURPOSE.search(table.schema)
    notes = dict(_NOTE.findall(table.schema) + _NOTE_OF_ADDED.findall(table.schema))
    choices = {column: re.findall(r"'?(\w+)'?", values) for column, values in _CHECK.findall(table.schema)}
    keys = {key.column: key for key in table.foreign_keys if key.column is not None}
    lines = [f"## {table.name}", "" if purpose is None else purpose[1], "", "| column | type | |", "|---|---|---|"]
    for column in table.columns:
        remarks = []
        if column.is_pk:
            remarks.append("primary key")
        if column.name in keys:
            key = keys[column.name]
            remarks.append(f"→ {key.other_table}" + (", goes with it" if key.on_delete == "CASCADE" else ""))
        if column.name in choices:
            remarks.append(", ".join(f"`{value}`" for value in choices[column.name]))
        if column.name in notes:
            remarks.append(notes[column.name])
        optional = "" if column.notnull or column.is_pk else ", may be NULL"
        lines.append(f"| {column.name} | {column.type}{optional} | {'; '.join(remarks)} |")
    return "\n".join([*lines, "", *_indexes(table)]).rstrip() + "\n"


def _indexes(table: Table) -> list[str]:
    """One line for each index, the ones behind keys and UNIQUE included."""
    lines: list[str] = []
    for index in sorted(table.indexes, key=_unique_first):
        if index.origin == "pk":
            continue
        row = table.db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [index.name]).fetchone()
        condition = _CONDITION.search(row[0] or "")
        where = f" where `{condition[1].strip()}`" if condition else ""
        lines.append(f"- {'unique' if index.unique else 'index'} ({', '.join(index.columns)}){where}")
    return lines


def _unique_first(index: Index) -> tuple[bool, list[str]]:
    return not index.unique, index.columns


if __name__ == "__main__":
    sys.stdout.write(page())
