"""A look at a database as it is, beside a gateway that may have it open: nothing is made, and nothing is migrated."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.connection import connect_reader, unavailable
from gateway.store.sqlite.ledger import creditors, money_providers
from gateway.store.sqlite.migrations import refuse_newer

BUSY_SECONDS = 2.0


def read_money_providers(path: Path) -> frozenset[str]:
    """Names that references are kept of; empty before the first migration. Raises StoreUnavailable."""
    with looking(path) as db:
        return money_providers(db) if _has_schema(db) else frozenset()


def read_creditors(path: Path) -> frozenset[WalletKind]:
    """Who credited what is kept; nobody before the first migration. Raises StoreUnavailable."""
    with looking(path) as db:
        return creditors(db) if _has_schema(db) else frozenset()


def audit_file(path: Path) -> Audit:
    """Whether the books in a file add up. Raises StoreUnavailable where it holds no books that this release reads."""
    with looking(path, kept=True) as db:
        return audit(db)


@contextmanager
def looking(path: Path, *, kept: bool = False) -> Iterator[sqlite3.Connection]:
    """A snapshot of the database, in which nothing can be written; `kept` demands that there is something to look at.

    Raises StoreUnavailable, also for what SQLite raises inside.
    """
    if kept and not path.exists():
        raise StoreUnavailable(f"database {path}: there is no such file; see that [store] url names the right one")
    with closing(connect_reader(str(path), BUSY_SECONDS)) as db:
        try:
            db.execute("BEGIN")
            refuse_newer(db, str(path))
            if kept and not _has_schema(db):
                raise StoreUnavailable(f"database {path}: no gateway has kept anything in it; is it the right one?")
            yield db
        except sqlite3.Error as error:
            raise unavailable(str(path), error) from error


def _has_schema(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'providers'").fetchone() is not None
