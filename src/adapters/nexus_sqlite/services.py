"""The services of workspaces, in the table ``services``; their environment is sealed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from nexus_core.domain.service import CheckType, Health, HealthCheck, Service, ServiceSpec, ServiceStatus
from nexus_core.ports.records import Services
from nexus_sqlite.moments import from_micros, from_micros_or_null, to_micros, to_micros_or_null
from nexus_sqlite.sealing import Sealing

REMOVE_ALL: Final = "DELETE FROM services WHERE workspace_id = ?"
ADD: Final = """
INSERT INTO services (
    workspace_id, position, name, command, port, expose, forwarded_port, depends_on, env, health_check, status, health,
    error, last_health_check, created_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE: Final = """
UPDATE services
SET port = ?, expose = ?, forwarded_port = ?, status = ?, health = ?, error = ?, last_health_check = ?
WHERE workspace_id = ? AND name = ?
"""
_SELECT: Final = """
SELECT workspace_id, name, command, port, expose, forwarded_port, depends_on, env, health_check, status, health, error,
       last_health_check, created_at
FROM services
"""
OF_WORKSPACE: Final = _SELECT + "WHERE workspace_id = ? ORDER BY position"
GET: Final = _SELECT + "WHERE workspace_id = ? AND name = ?"
# A list of values is one parameter, as JSON, so that no SQL is put together while running.
COUNT: Final = """
SELECT workspace_id, count(*) FROM services WHERE workspace_id IN (SELECT value FROM json_each(?)) GROUP BY workspace_id
"""

_ENV: Final = "services.env"
_NO_ENV: Final[Mapping[str, str]] = MappingProxyType({})


class SqliteServices(Services):
    """`Services` over one connection."""

    def __init__(self, connection: sqlite3.Connection, sealing: Sealing) -> None:
        self._connection = connection
        self._sealing = sealing

    def replace(self, workspace_id: str, services: Sequence[Service]) -> None:
        self._connection.execute(REMOVE_ALL, (workspace_id,))
        rows = [self._row(workspace_id, position, service) for position, service in enumerate(services)]
        self._connection.executemany(ADD, rows)

    def of_workspace(self, workspace_id: str) -> Sequence[Service]:
        rows = self._connection.execute(OF_WORKSPACE, (workspace_id,)).fetchall()
        return [_service(row, self._sealing) for row in rows]

    def get(self, workspace_id: str, name: str) -> Service | None:
        row = self._connection.execute(GET, (workspace_id, name)).fetchone()
        return None if row is None else _service(row, self._sealing)

    def update(self, service: Service) -> None:
        row = (
            service.spec.port,
            service.spec.expose,
            service.mapped_port,
            service.status.value,
            service.health.value,
            service.error,
            to_micros_or_null(service.last_check),
            service.workspace_id,
            service.name,
        )
        self._connection.execute(UPDATE, row)

    def count(self, workspace_ids: Collection[str]) -> dict[str, int]:
        return dict(self._connection.execute(COUNT, (json.dumps(list(workspace_ids)),)).fetchall())

    def _row(self, workspace_id: str, position: int, service: Service) -> tuple[Any, ...]:
        spec = service.spec
        env = None
        if spec.env:
            env = self._sealing.seal(json.dumps(dict(spec.env)), _ENV, workspace_id, spec.name)
        return (
            workspace_id,
            position,
            spec.name,
            spec.command,
            spec.port,
            spec.expose,
            service.mapped_port,
            json.dumps(spec.depends_on),
            env,
            json.dumps(asdict(spec.health_check)),
            service.status.value,
            service.health.value,
            service.error,
            to_micros_or_null(service.last_check),
            to_micros(service.created_at),
        )


# A row that is as it was makes the same service: all of them are read every second, to look after their
# health, and hardly ever change. Their environment is opened once.
@lru_cache(maxsize=4096)
def _service(row: tuple[Any, ...], sealing: Sealing) -> Service:
    workspace_id, name, command, port, expose, mapped_port, depends_on, env, check, status, health, error = row[:12]
    last_check, created_at = row[12:]
    return Service(
        workspace_id=workspace_id,
        spec=ServiceSpec(
            name=name,
            command=command,
            port=port,
            depends_on=tuple(json.loads(depends_on)),
            env=_NO_ENV if env is None else MappingProxyType(json.loads(sealing.open(env, _ENV, workspace_id, name))),
            health_check=_health_check(json.loads(check)),
            expose=bool(expose),
        ),
        created_at=from_micros(created_at),
        status=ServiceStatus(status),
        health=Health(health),
        mapped_port=mapped_port,
        last_check=from_micros_or_null(last_check),
        error=error,
    )


def _health_check(fields: dict[str, Any]) -> HealthCheck:
    return HealthCheck(type=CheckType(fields.pop("type")), **fields)
