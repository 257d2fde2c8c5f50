"""The store under test: the behavioural suite runs once for each engine in `database`'s params."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from gateway.store.base import Store
from gateway.store.factory import open_store
from gateway.store.postgres import committer, connection, pool


@dataclass(frozen=True, slots=True)
class Database:
    """One empty database. Called, it answers another store on it, not yet open."""

    url: str

    def __call__(self) -> Store:
        return open_store(self.url)

    async def tamper(self, sql: str) -> None:
        """Change what is kept behind the store's back, as no gateway does: constraints do not hold it up."""
        if self.url.startswith("sqlite:"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as file:
                file.execute(sql)
            return
        db = await asyncpg.connect(self.url, server_settings={"session_replication_role": "replica"})
        await db.execute(sql)
        await db.close()


@pytest.fixture
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too, only a deadlock fails a statement of PostgreSQL, which detects one after a second."""
    timeouts = dict.fromkeys(("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"), "60s")
    monkeypatch.setattr(connection, "_SETTINGS", {**connection._SETTINGS, **timeouts})
    monkeypatch.setattr(connection, "COMMITTING", {**connection.COMMITTING, **timeouts})
    for module, names in (
        (committer, ("QUEUE_TIMEOUT_S", "BATCH_TIMEOUT_S")),
        (pool, ("ACQUIRE_TIMEOUT_S", "READ_TIMEOUT_S")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 60.0)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, long_timeouts: None) -> Database:
    """An empty database of the engine under test."""
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'gateway.db'}")
    url: str = request.getfixturevalue("emptied_url")
    return Database(url)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An open store on an empty database."""
    store = database()
    await store.open()
    yield store
    await store.close()
