"""Numbered migrations: package data, applied in order, each in one transaction with the number it brings."""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gateway.store.interface import StoreUnavailable

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `version` is what PRAGMA user_version says after it."""

    version: int
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration of this release, in order."""
    folder = files("gateway.store").joinpath("migrations", "sqlite")
    named = ((_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    found = sorted((int(match[1]), file.read_text("utf-8")) for match, file in named if match)
    if [version for version, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"migrations are not numbered from 0001 without a gap: {[version for version, _ in found]}")
    return tuple(Migration(version, sql) for version, sql in found)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the schema to this release's. Raises StoreUnavailable where it is a newer release's, sqlite3.Error else."""
    for step in migrations():
        if _version(db) < step.version:
            _apply(db, step)
    refuse_newer(db, path)


def refuse_newer(db: sqlite3.Connection, path: str) -> None:
    """Raise StoreUnavailable where the schema is a newer release's."""
    steps = migrations()
    if (version := _version(db)) > len(steps):
        raise StoreUnavailable(
            f"database {path}: its schema is version {version} and this release knows versions up to {len(steps)}; "
            "start the newer release that made it, or restore the backup from before the upgrade"
        )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _apply(db: sqlite3.Connection, step: Migration) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may just have applied this step.
        if _version(db) < step.version:
            for statement in _statements(step.sql):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {step.version:d}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


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
