"""Brings a database to this release's schema: each step in one transaction, with the row that says it is applied.

PRAGMA user_version is what a release refuses to start on, also the releases before the table of steps. After the
first step only one that breaks with them increases it.
"""

import sqlite3
from collections.abc import Iterator

from gateway.store.base import StoreUnavailable
from gateway.store.migration_files import Migration, migrations

ENGINE = "sqlite"

_STEPS = "CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL PRIMARY KEY) STRICT"
"""Created by `migrate`. A database of release 0.1.0 does not have it: its user_version says what was applied."""


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the schema to this release's. Raises StoreUnavailable where it is a newer release's, sqlite3.Error else."""
    refuse_newer(db, path)
    for step in migrations(ENGINE):
        if step.version not in applied(db):
            _apply(db, step)


def refuse_newer(db: sqlite3.Connection, path: str) -> None:
    """Raise StoreUnavailable where a newer release made the schema into something that this one cannot work with."""
    known = len(migrations(ENGINE))
    if (version := _user_version(db)) > known:
        raise StoreUnavailable(
            f"database {path}: its schema is version {version} and this release knows versions up to {known}; "
            "start the newer release that made it, or restore the backup from before the upgrade"
        )


def applied(db: sqlite3.Connection) -> frozenset[int]:
    """The steps that the database has seen, a newer release's included."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone() is None:
        return frozenset(range(1, _user_version(db) + 1))
    return frozenset(version for (version,) in db.execute("SELECT version FROM migrations"))


def _user_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _apply(db: sqlite3.Connection, step: Migration) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may just have applied this step.
        before = applied(db)
        if step.version not in before:
            execute(db, step)
            db.execute(_STEPS)
            db.executemany(
                "INSERT INTO migrations (version) VALUES (?) ON CONFLICT DO NOTHING",
                [(version,) for version in sorted(before | {step.version})],
            )
            if step.breaks or step.version == 1:
                db.execute(f"PRAGMA user_version = {step.version:d}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def execute(db: sqlite3.Connection, step: Migration) -> None:
    """Execute a step's statements, in the transaction that is open."""
    for statement in _statements(step.sql):
        db.execute(statement)


def _statements(sql: str) -> Iterator[str]:
    # Not executescript: it commits whatever is open before it begins.
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
