"""Migrations: applied once, whole or not at all, and never backwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.migration_files import BREAKS, Migration, migrations
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.migrations import ENGINE, _apply, _user_version, applied, migrate


@pytest.fixture
def db(path: str) -> Iterator[sqlite3.Connection]:
    """A connection to the file, as the store makes its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


ALL = frozenset(step.version for step in migrations(ENGINE))


def test_migrating_again_changes_nothing(db: sqlite3.Connection, path: str) -> None:
    """A database of this release stays as it is."""
    migrate(db, path)
    first = schema(db)
    assert applied(db) == ALL
    migrate(db, path)
    assert schema(db) == first
    assert applied(db) == ALL


def test_a_database_of_release_0_1_0_goes_on_from_its_version(db: sqlite3.Connection, path: str) -> None:
    """It has no table of steps: its user_version says that the first is applied, and the others are added."""
    db.executescript(migrations(ENGINE)[0].sql)
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO accounts VALUES ('player-1', 'EUR', '1', '1', '2026-11-21T12:30:00.123456+00:00')")
    assert applied(db) == {1}
    migrate(db, path)
    assert applied(db) == ALL
    assert db.execute("SELECT cash FROM accounts").fetchall() == [("1",)]


def test_what_only_adds_leaves_the_version_that_releases_refuse(db: sqlite3.Connection, path: str) -> None:
    """Release 0.1.0 refuses a user_version above 1: only a step that breaks with it raises the number."""
    migrate(db, path)
    assert _user_version(db) == 1
    _apply(db, Migration(1001, "CREATE TABLE added (one TEXT);"))
    assert _user_version(db) == 1
    _apply(db, Migration(1002, f"{BREAKS}\nCREATE TABLE broken (one TEXT);"))
    assert _user_version(db) == 1002
    assert applied(db) == ALL | {1001, 1002}


def test_a_step_that_another_process_applied_is_left_out(db: sqlite3.Connection) -> None:
    """What is applied is read again under the lock, so that two that start at once do not apply a step twice."""
    step = Migration(1, "CREATE TABLE once (one TEXT);\n")
    _apply(db, step)
    _apply(db, step)
    assert applied(db) == {1}


def test_a_step_that_fails_leaves_nothing_behind(db: sqlite3.Connection) -> None:
    """A migration is one transaction, the row that says so included."""
    with pytest.raises(sqlite3.OperationalError):
        _apply(db, Migration(1, "CREATE TABLE half (one TEXT);\n-- and then\nCREATE TABLE half (one TEXT);\n"))
    assert schema(db) == []
    assert applied(db) == frozenset()
    assert not db.in_transaction


async def test_a_step_of_a_newer_release_that_only_adds_is_no_hindrance(db: sqlite3.Connection, path: str) -> None:
    """After a rollback of the release the gateway starts on what the newer one added."""
    store = SqliteStore(path)
    await store.open()
    await store.close()
    _apply(db, Migration(len(ALL) + 1, "CREATE TABLE of_tomorrow (one TEXT);"))
    await store.open()
    await store.ping()
    await store.close()
    assert applied(db) == ALL | {len(ALL) + 1}


async def test_a_newer_database_that_breaks_is_refused(db: sqlite3.Connection, path: str) -> None:
    """An older release does not touch what a newer one made, and says which to start."""
    store = SqliteStore(path)
    await store.open()
    await store.close()
    newer = len(ALL) + 1
    _apply(db, Migration(newer, f"{BREAKS}\nDROP TABLE pings;"))
    before = schema(db)
    with pytest.raises(StoreUnavailable, match=f"version {newer} .* start the newer release"):
        await store.open()
    assert schema(db) == before
