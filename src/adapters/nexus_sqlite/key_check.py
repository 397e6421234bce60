"""Whether a key is the one that a database was first opened with.

The database holds a value that only this key opens. A key file that was mixed up is so noticed at
once and before anything is written, not months later when the first secret is asked for.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from nexus_core.errors import StoreFailed
from nexus_sqlite import migrations
from nexus_sqlite.connections import immediate
from nexus_sqlite.sealing import Sealing

CHECK_VALUE: Final = "SELECT id, key_check FROM server"
KEEP_CHECK_VALUE: Final = "UPDATE server SET key_check = ? WHERE key_check IS NULL"

_SINCE: Final = 2  # the version of the schema that has the column
_PLACE: Final = "server.key_check"


def refuse_another_key(connection: sqlite3.Connection, sealing: Sealing) -> None:
    """Return if this is the database's key, or it has none so far; only reads.

    Raises `StoreFailed` for another key.
    """
    if migrations.schema_version(connection) < _SINCE:
        return
    server_id, check_value = connection.execute(CHECK_VALUE).fetchone()
    if check_value is None:
        return
    try:
        sealing.open(check_value, _PLACE, server_id)
    except StoreFailed as exc:
        raise StoreFailed(
            "The database cannot be opened with this key",
            why="The key file does not belong to this database.",
            fix="Put back the key file that belongs to it, from a backup if need be. If it is lost, see "
            "docs/reference/database.md; nothing was changed.",
        ) from exc


def keep_to_key(connection: sqlite3.Connection, sealing: Sealing) -> None:
    """Let the database have this key from now on if it has none, else do as `refuse_another_key`.

    Of several processes with different keys, one has its way.
    """
    server_id, check_value = connection.execute(CHECK_VALUE).fetchone()
    if check_value is None:
        with immediate(connection):
            connection.execute(KEEP_CHECK_VALUE, (sealing.seal("", _PLACE, server_id),))
    refuse_another_key(connection, sealing)
