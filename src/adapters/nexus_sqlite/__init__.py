"""The store on SQLite: everything Nexus remembers, in one file."""

from nexus_sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
