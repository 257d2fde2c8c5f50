"""Reads a database as it is, while a gateway may have it open: nothing is created, and nothing is migrated."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.connection import connect_reader, unavailable
from gateway.store.sqlite.ledger import money_providers, wallet_kinds
from gateway.store.sqlite.migrations import applied, refuse_newer

BUSY_SECONDS = 2.0


def read_money_providers(path: Path) -> frozenset[str]:
    """Providers that have references; empty before the first migration. Raises StoreUnavailable."""
    with snapshot(path) as db:
        return money_providers(db) if _has_schema(db) else frozenset()


def read_wallet_kinds(path: Path) -> frozenset[WalletKind]:
    """The wallets that credited what is stored; none before the first migration. Raises StoreUnavailable."""
    with snapshot(path) as db:
        return wallet_kinds(db) if _has_schema(db) else frozenset()


def schema_version(path: Path) -> int:
    """The newest migration that was applied; 0 where there is none. Raises StoreUnavailable."""
    if not path.exists():
        return 0
    with snapshot(path) as db:
        return max(applied(db), default=0)


def audit_file(path: Path) -> Audit:
    """An audit of the books in a file. Raises StoreUnavailable where it has none that this release can read."""
    with snapshot(path, required=True) as db:
        return audit(db)


@contextmanager
def snapshot(path: Path, *, required: bool = False) -> Iterator[sqlite3.Connection]:
    """A snapshot of the database, in which nothing can be written; with `required` a gateway must have written to it.

    Raises StoreUnavailable, also for what SQLite raises inside.
    """
    if required and not path.exists():
        raise StoreUnavailable(f"database {path}: there is no such file; see that [store] url names the right one")
    with closing(connect_reader(str(path), BUSY_SECONDS)) as db:
        try:
            db.execute("BEGIN")
            refuse_newer(db, str(path))
            if required and not _has_schema(db):
                raise StoreUnavailable(f"database {path}: no gateway has written to it; is it the right one?")
            yield db
        except sqlite3.Error as error:
            raise unavailable(str(path), error) from error


def _has_schema(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'providers'").fetchone() is not None
