"""Migrations: applied once, whole or not at all, and never backwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.store.interface import StoreUnavailable
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.migrations import Migration, _apply, _version, migrate, migrations


@pytest.fixture
def db(path: str) -> Iterator[sqlite3.Connection]:
    """A connection to the file, as the store makes its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_migrations_are_numbered_from_one() -> None:
    """They are package data, found in order without a gap."""
    assert [each.version for each in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()


def test_migrating_again_changes_nothing(db: sqlite3.Connection, path: str) -> None:
    """A database of this release stays as it is."""
    migrate(db, path)
    first = schema(db)
    assert _version(db) == len(migrations())
    migrate(db, path)
    assert schema(db) == first


def test_a_step_that_another_process_applied_is_left_out(db: sqlite3.Connection) -> None:
    """The version is read again under the lock, so that two that start at once do not apply a step twice."""
    step = Migration(1, "CREATE TABLE once (one TEXT);\n")
    _apply(db, step)
    _apply(db, step)
    assert _version(db) == 1


def test_a_step_that_fails_leaves_nothing_behind(db: sqlite3.Connection) -> None:
    """A migration is one transaction, its number included."""
    with pytest.raises(sqlite3.OperationalError):
        _apply(db, Migration(1, "CREATE TABLE half (one TEXT);\n-- and then\nCREATE TABLE half (one TEXT);\n"))
    assert schema(db) == []
    assert _version(db) == 0
    assert not db.in_transaction


async def test_a_newer_database_is_refused(db: sqlite3.Connection, path: str) -> None:
    """An older release does not touch what a newer one made, and says which to start."""
    store = SqliteStore(path)
    await store.open()
    await store.close()
    newer = len(migrations()) + 1
    db.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreUnavailable, match=f"version {newer} .* start the newer release"):
        await store.open()
    assert _version(db) == newer
