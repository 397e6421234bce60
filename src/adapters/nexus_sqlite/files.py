"""Whether the files that were opened are still those at their paths.

SQLite goes on writing into a file that was moved away or deleted, and what is acknowledged then is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nexus_core.errors import StoreFailed
from nexus_sqlite.connections import beside

_BESIDE: Final = ("-wal", "-shm")


class OpenedFiles:
    """The database's file, its log and the index of the log, as they are when this is made.

    All three exist once a connection in WAL mode has read something, and stay until the last is closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = _identity(path)
        self._beside = [_identity(beside(path, ending)) for ending in _BESIDE]

    def require_database(self) -> None:
        """Return if the database's file is at its path; raises `StoreFailed`."""
        present = _identity(self._path)
        if present == self._database:
            return
        name = self._path.name
        raise StoreFailed(
            "The database file is not the one that was opened",
            why=f"{name} was moved away or deleted." if present is None else f"Another file has taken {name}'s place.",
            fix="Put back the very file, and everything goes on. If it is gone, stop the server, put a backup in its "
            "place with `nexus restore FILE`, and start it again.",
        )

    def log_is_there(self) -> bool:
        """Whether the log and its index are at their paths."""
        return self._beside == [_identity(beside(self._path, ending)) for ending in _BESIDE]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
