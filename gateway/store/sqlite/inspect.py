"""A look at a database that no gateway of ours has open: it is read as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.store.sqlite.connection import connect_reader, unavailable
from gateway.store.sqlite.ledger import money_providers
from gateway.store.sqlite.migrations import refuse_newer


def read_money_providers(path: Path) -> frozenset[str]:
    """Names that references are kept of; empty before the first migration. Raises StoreUnavailable."""
    with closing(connect_reader(str(path), busy_seconds=2.0)) as db:
        try:
            refuse_newer(db, str(path))
            has_schema = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'providers'").fetchone()
            return money_providers(db) if has_schema else frozenset()
        except sqlite3.Error as error:
            raise unavailable(str(path), error) from error
