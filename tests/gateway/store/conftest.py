"""The store under test: the behavioural suite runs once for each engine in `database`'s params."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from gateway.store.interface import Store
from gateway.store.open import open_store
from tests.support.postgres import PostgresServer


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


EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations' LOOP
        EXECUTE format('DELETE FROM %I', each.tablename);
    END LOOP;
END
$$;
INSERT INTO sequencer (one) VALUES (1);
"""


@pytest.fixture(scope="session")
async def shared_url(postgres: PostgresServer, migrated: str) -> str:
    """A database that is emptied for each test: to make one of its own takes 0.2 s."""
    return postgres.url(await postgres.create(template=migrated))


@pytest.fixture
async def emptied_url(shared_url: str) -> str:
    """The url of a migrated, empty database."""
    db = await asyncpg.connect(shared_url)
    await db.execute(EMPTY)
    await db.close()
    return shared_url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
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
