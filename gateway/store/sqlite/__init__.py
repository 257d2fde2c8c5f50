"""The store on SQLite: one process, one file, no set-up."""

from gateway.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
