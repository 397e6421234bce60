"""Every collection over one connection."""

from __future__ import annotations

import sqlite3

from nexus_core.ports.store import Records
from nexus_sqlite.events import SqliteEvents
from nexus_sqlite.idempotency import SqliteIdempotencyKeys
from nexus_sqlite.leases import SqliteLeases
from nexus_sqlite.operations import SqliteOperations
from nexus_sqlite.recipes import SqliteRecipes
from nexus_sqlite.sealing import Sealing
from nexus_sqlite.services import SqliteServices
from nexus_sqlite.tokens import SqliteTokens
from nexus_sqlite.users import SqliteUsers
from nexus_sqlite.workspaces import SqliteWorkspaces


def records_over(connection: sqlite3.Connection, sealing: Sealing) -> Records:
    """The collections; they keep no state of their own and live as long as the connection."""
    return Records(
        users=SqliteUsers(connection),
        workspaces=SqliteWorkspaces(connection),
        services=SqliteServices(connection, sealing),
        recipes=SqliteRecipes(connection, sealing),
        leases=SqliteLeases(connection),
        operations=SqliteOperations(connection),
        tokens=SqliteTokens(connection),
        events=SqliteEvents(connection),
        idempotency_keys=SqliteIdempotencyKeys(connection),
    )
