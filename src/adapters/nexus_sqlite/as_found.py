"""A database as it is found: read by a program that is not its server, and never written."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from nexus_core.errors import StoreFailed
from nexus_core.ports.store import Records
from nexus_sqlite import migrations
from nexus_sqlite.connections import connect_reader
from nexus_sqlite.databases import SERVER
from nexus_sqlite.errors import translated
from nexus_sqlite.moments import from_micros_or_null
from nexus_sqlite.records import records_over
from nexus_sqlite.sealing import KEY_BYTES, Sealing

PATIENCE: Final = 2.0


class RecordsAsFound:
    """The records in a file that a server may have open at the same time.

    Opening takes no lock that a server waits for. Raises `StoreFailed` for a file that is missing, damaged
    or has an older schema, `SchemaTooNew` for a newer one, and `DatabaseBusy`. Without ``key`` records
    with secrets in them cannot be read.
    """

    def __init__(self, path: Path, *, key: bytes | None) -> None:
        self._path = path
        self._sealing = Sealing(os.urandom(KEY_BYTES) if key is None else key)
        with translated(), closing(connect_reader(path, PATIENCE)) as connection:
            migrations.refuse_foreign(connection)
            if migrations.schema_version(connection) != len(migrations.STEPS):
                raise StoreFailed("The database has an older schema", fix="Start the server: it brings it up to date.")
            self.server_id, restored_at = connection.execute(SERVER).fetchone()
        self._restored_at = from_micros_or_null(restored_at)

    @property
    def restored_at(self) -> datetime | None:
        """When these records were put in place from a backup, else None."""
        return self._restored_at

    @contextmanager
    def snapshot(self) -> Generator[Records]:
        """Read only, from one consistent moment; as `nexus_core.ports.store.Store.snapshot`."""
        with translated(), closing(connect_reader(self._path, PATIENCE)) as connection:
            connection.execute("BEGIN")
            yield records_over(connection, self._sealing)
