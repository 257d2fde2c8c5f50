"""Reads a database as it is, while a gateway may have it open: no byte changes, and no file is created beside it.

Closing the last connection would otherwise copy what a crash left in the `-wal` into the database.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.sqlite import fitness
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.companions import companion, read_header, refuse_foreign
from gateway.store.sqlite.connection import connect_reader, primary_code, unavailable
from gateway.store.sqlite.ledger import money_providers, wallet_kinds
from gateway.store.sqlite.migrations import applied, refuse_newer

BUSY_SECONDS = 2.0


def read_money_providers(path: Path) -> frozenset[str]:
    """Providers that have references; empty before the first migration.

    Raises StoreUnavailable, also where a gateway could not start on the file, or where there is none yet, in its place.
    """
    fitness.refuse_unfit(str(path), fitness.place_problems(str(path)))
    if not path.exists():
        return frozenset()
    with snapshot(path) as db:
        fitness.refuse_unfit(str(path), fitness.file_problems(db, str(path)))
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
    refuse_foreign(path)
    with _unchanged(path) as (file, options), closing(_begin(path, file, options)) as db:
        try:
            refuse_newer(db, str(path))
            if required and not _has_schema(db):
                raise StoreUnavailable(f"database {path}: no gateway has written to it; is it the right one?")
            yield db
        except sqlite3.Error as error:
            raise unavailable(str(path), error) from error


@contextmanager
def _unchanged(path: Path) -> Iterator[tuple[Path, str]]:
    """The file to read, and SQLite's options with which that changes nothing. Raises StoreUnavailable."""
    header, wal = read_header(path), companion(path, "-wal")
    if header is None or not header.has_wal:
        yield path, "mode=ro"
    elif not wal.exists() or not wal.stat().st_size:
        # No process has it open. SQLite would create a -wal even to read; without one a gateway's start must be seen.
        before = path.stat()
        yield path, "mode=ro&immutable=1"
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise StoreUnavailable(f"database {path}: a gateway started while it was read; run the command again")
    elif companion(path, "-shm").exists():
        yield path, "mode=ro&readonly_shm=1"
    else:
        # After a crash, and moved without its -shm, which SQLite would create.
        with tempfile.TemporaryDirectory(prefix="session-gateway-") as folder:
            copy = Path(folder, "copy.db")
            shutil.copyfile(path, copy)
            shutil.copyfile(wal, companion(copy, "-wal"))
            yield copy, "mode=rw"


def _begin(path: Path, file: Path, options: str) -> sqlite3.Connection:
    """A connection with a snapshot. While a gateway starts, SQLite may refuse one that writes nothing: then again."""
    for last in (False, False, True):
        db = connect_reader(f"{file.absolute().as_uri()}?{options}", BUSY_SECONDS, uri=True)
        try:
            db.execute("BEGIN")
            db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            db.close()
            if last or primary_code(error) != sqlite3.SQLITE_READONLY:
                raise unavailable(str(path), error) from error
        else:
            return db
    raise AssertionError("unreachable")


def _has_schema(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'providers'").fetchone() is not None
