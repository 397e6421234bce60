"""Host ports and who holds them, in the table ``port_allocations``.

A port has one row, whatever its history: it is the primary key, so that two holders are impossible
in the database itself. Taking a port that was given back overwrites the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.errors import HostPortTaken
from nexus_core.ports.records import Leases
from nexus_sqlite.moments import from_micros, to_micros

HELD: Final = "SELECT port FROM port_allocations WHERE kind = ? AND released_at IS NULL"
TAKE: Final = """
INSERT INTO port_allocations (port, kind, workspace_id, allocated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (port) DO UPDATE
SET kind = excluded.kind, workspace_id = excluded.workspace_id, allocated_at = excluded.allocated_at, released_at = NULL
WHERE released_at IS NOT NULL
"""
RELEASE_ALL: Final = """
UPDATE port_allocations SET released_at = ? WHERE workspace_id = ? AND released_at IS NULL RETURNING port
"""
RELEASE_ONE: Final = """
UPDATE port_allocations SET released_at = ? WHERE workspace_id = ? AND released_at IS NULL AND port = ? RETURNING port
"""
OF_WORKSPACE: Final = """
SELECT port, kind, workspace_id, allocated_at FROM port_allocations
WHERE workspace_id = ? AND released_at IS NULL ORDER BY port
"""


class SqliteLeases(Leases):
    """`Leases` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def held(self, kind: PortKind) -> frozenset[int]:
        return frozenset(port for (port,) in self._connection.execute(HELD, (kind.value,)).fetchall())

    def take(self, lease: Lease) -> None:
        row = (lease.port, lease.kind.value, lease.workspace_id, to_micros(lease.allocated_at))
        if not self._connection.execute(TAKE, row).rowcount:
            raise HostPortTaken(f"Host port {lease.port} is leased already", details={"port": lease.port})

    def release(self, workspace_id: str, now: datetime, *, port: int | None = None) -> Sequence[int]:
        if port is None:
            rows = self._connection.execute(RELEASE_ALL, (to_micros(now), workspace_id)).fetchall()
        else:
            rows = self._connection.execute(RELEASE_ONE, (to_micros(now), workspace_id, port)).fetchall()
        return sorted(released for (released,) in rows)

    def of_workspace(self, workspace_id: str) -> Sequence[Lease]:
        return [
            Lease(port, PortKind(kind), holder, from_micros(allocated_at))
            for port, kind, holder, allocated_at in self._connection.execute(OF_WORKSPACE, (workspace_id,)).fetchall()
        ]
