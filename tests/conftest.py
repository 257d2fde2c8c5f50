"""What all tests share: blocking calls fail; a PostgreSQL server, started when the first test asks for it."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.store.postgres import PostgresStore
from tests.support.blocking import blocking_calls_raise
from tests.support.postgres import PostgresServer, postgres_server

EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
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


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Code of the gateway that blocks the event loop raises blockbuster.BlockingError."""
    with blocking_calls_raise():
        yield


@pytest.fixture
def older_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own contexts accept old TLS, as on systems that leave the oldest version to OpenSSL."""
    create = ssl.create_default_context

    def created(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, *, cafile: Path | None = None) -> ssl.SSLContext:
        context = create(purpose, cafile=cafile)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    monkeypatch.setattr(ssl, "create_default_context", created)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this run, with fsync on as in production. It is removed with its data at the end."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
async def migrated(postgres: PostgresServer) -> str:
    """A database that a gateway has migrated: a template for others."""
    name = await postgres.create()
    store = PostgresStore(postgres.url(name))
    await store.open()
    await store.close()
    return name


@pytest.fixture
async def postgres_url(postgres: PostgresServer, migrated: str) -> str:
    """The url of a migrated, empty database for one test."""
    return postgres.url(await postgres.create(template=migrated))


@pytest.fixture(scope="session")
async def shared_url(postgres: PostgresServer, migrated: str) -> str:
    """A database that is emptied for each test: to make one and to remove it takes half a second."""
    return postgres.url(await postgres.create(template=migrated))


@pytest.fixture
async def emptied_url(shared_url: str) -> str:
    """The url of a migrated, empty database."""
    db = await asyncpg.connect(shared_url)
    try:
        await db.execute(EMPTY)
    finally:
        await db.close()
    return shared_url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The url of an empty database, of each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.db'}"
    url: str = request.getfixturevalue("emptied_url")
    return url
