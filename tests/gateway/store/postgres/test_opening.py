"""Opening a database: migrated once, whole or not at all, and a clear word on what is in the way."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import asyncpg
import pytest
import structlog

from gateway.store.base import StoreUnavailable
from gateway.store.factory import describe, stored_money_providers
from gateway.store.migration_files import BREAKS, Migration, migrations
from gateway.store.models import Applied
from gateway.store.postgres import PostgresStore, connection
from gateway.store.postgres.migrations import migrate
from gateway.store.postgres_url import parse
from tests.gateway.store.postgres.inside import pool, value
from tests.gateway.store.samples import deliver, opened, posting
from tests.support.postgres import PostgresServer

PASSWORD = "hunter2"
KNOWN = migrations("postgres")


@pytest.fixture
async def empty_url(postgres: PostgresServer) -> str:
    """A database that no gateway has opened."""
    return postgres.url(await postgres.create())


@pytest.fixture
async def db(empty_url: str) -> AsyncIterator[connection.Connection]:
    """A connection to it."""
    db = await asyncpg.connect(empty_url)
    yield db
    await db.close()


async def tables(db: connection.Connection) -> list[str]:
    rows = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row["tablename"] for row in rows]


# --- Migrations -------------------------------------------------------------------------------------------------------


async def test_eight_gateways_at_once_migrate_once(empty_url: str) -> None:
    """On an empty database one of them makes the schema, the others wait, and all of them work."""
    stores = [PostgresStore(empty_url, pool_size=3) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await opened(stores[0])
    results = await asyncio.gather(*(deliver(store, posting()) for store in stores))
    assert sum(isinstance(result, Applied) and not result.replayed for result in results) == 1
    assert await value(empty_url, "SELECT count(*) FROM schema_migrations") == len(KNOWN)
    for store in stores:
        await store.close()


async def test_a_step_that_fails_leaves_nothing_behind(empty_url: str, db: connection.Connection) -> None:
    """All steps of a release are one transaction, their numbers included."""
    broken = Migration(len(KNOWN) + 1, "CREATE TABLE half (one text); CREATE TABLE half (one text)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(db, parse(empty_url), [*KNOWN, broken])
    assert await tables(db) == []


async def test_a_release_works_on_what_a_later_one_added(
    empty_url: str, db: connection.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind an additive step of a later release this one goes on, and can be started again."""
    store = PostgresStore(empty_url)
    await store.open()
    await opened(store)
    await deliver(store, posting("before"))
    added = """
        ALTER TABLE transactions ADD COLUMN later text NOT NULL DEFAULT '';
        ALTER TABLE exchanges ADD COLUMN later text NOT NULL DEFAULT '';
        ALTER TABLE events ADD COLUMN later text;
        ALTER TABLE reconciliation_items ADD COLUMN later text;
        ALTER TABLE accounts ADD COLUMN later integer NOT NULL DEFAULT 0;
        ALTER TABLE targets ADD COLUMN later text;
        CREATE TABLE later (one text)
    """
    await migrate(db, parse(empty_url), [*KNOWN, Migration(len(KNOWN) + 1, added)])
    for reference in ("meanwhile", "before"):
        assert isinstance(await deliver(store, posting(reference)), Applied)
    assert len((await store.credits_of("player-1")).entries) == 2
    assert len(await store.exchanges()) == 3
    await store.close()
    await store.open()
    assert isinstance(await deliver(store, posting("after")), Applied)
    assert await store.discrepancies() == ()
    await store.close()
    assert await value(empty_url, "SELECT count(*) FROM schema_migrations") == len(KNOWN) + 1


async def test_a_release_refuses_what_a_later_one_broke(empty_url: str, db: connection.Connection) -> None:
    """Behind a step that breaks with it this release does not start, and says which to start instead."""
    store = PostgresStore(empty_url)
    await store.open()
    await store.close()
    later = [Migration(len(KNOWN) + 1, f"{BREAKS}\nDROP TABLE pings"), Migration(len(KNOWN) + 2, "SELECT 1")]
    await migrate(db, parse(empty_url), [*KNOWN, *later])
    newest = len(KNOWN) + 1
    for look in (store.open, lambda: stored_money_providers(empty_url)):
        with pytest.raises(StoreUnavailable, match=rf"version {newest} .* start the newer release"):
            await look()


async def test_others_wait_while_one_migrates(empty_url: str, db: connection.Connection) -> None:
    """A gateway that comes during a migration waits for it, whatever its timeout for other statements is."""
    entered = asyncio.Event()

    async def slowly() -> None:
        async with db.transaction():
            await migrate(db, parse(empty_url), KNOWN)
            entered.set()
            await asyncio.sleep(2.5)

    store = PostgresStore(empty_url)
    async with asyncio.TaskGroup() as group:
        group.create_task(slowly())
        await entered.wait()
        await store.open()
    await store.ping()
    await store.close()


async def test_a_look_makes_nothing(empty_url: str, db: connection.Connection) -> None:
    """`check` finds the providers that have money, and leaves a database as it is."""
    assert await stored_money_providers(empty_url) == frozenset()
    assert await tables(db) == []
    store = PostgresStore(empty_url)
    await store.open()
    await store.remember_providers(frozenset({"acme", "bolt"}))
    await opened(store)
    await deliver(store, posting())
    await store.close()
    assert await stored_money_providers(empty_url) == {"acme"}


# --- What is in the way -----------------------------------------------------------------------------------------------


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


async def refused(url: str, says: str) -> None:
    """Opening, and a look, say so, name the database, and never the password."""
    for look in (PostgresStore(url).open, lambda: stored_money_providers(url)):
        with pytest.raises(StoreUnavailable, match=says) as caught:
            await look()
        text = f"{caught.value!r} {caught.value}"
        assert describe(url) in text
        assert PASSWORD not in text
        assert caught.value.unchanged


async def test_no_such_host() -> None:
    """A name that nobody knows."""
    await refused(f"postgresql://u:{PASSWORD}@nowhere.invalid/gateway", "no such host")


async def test_nothing_listens() -> None:
    """A port that nobody serves, and a folder without a socket."""
    await refused(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/gateway", "nothing listens there")
    await refused(f"postgresql://u:{PASSWORD}@/gateway?host=/nowhere", "no socket")


async def test_a_listener_that_says_nothing() -> None:
    """A host that takes connections and never answers is given up on in time."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        async with asyncio.timeout(60):
            await refused(f"postgresql://u:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/gateway", "does not answer")


async def test_no_such_database(postgres: PostgresServer) -> None:
    """A database that nobody made."""
    url = postgres.url("nothing").replace("gateway@", f"gateway:{PASSWORD}@")
    await refused(url, "no such database; create it")


async def test_a_wrong_user_and_a_wrong_password(postgres: PostgresServer, empty_url: str) -> None:
    """The server's refusal of the user is named as such."""
    await refused(empty_url.replace("gateway@", f"intruder:{PASSWORD}@"), "refuses this user")
    rules = postgres.data / "pg_hba.conf"
    trusting = rules.read_text()
    rules.write_text(f"local all locked scram-sha-256\n{trusting}")
    await value(empty_url, "SELECT pg_reload_conf()")
    try:
        async with asyncio.timeout(60):
            await value(empty_url, "CREATE ROLE locked LOGIN PASSWORD 'right'")
            await refused(empty_url.replace("gateway@", f"locked:{PASSWORD}@"), "refuses this user or this password")
    finally:
        rules.write_text(trusting)
        await value(empty_url, "SELECT pg_reload_conf()")


async def test_a_server_that_is_too_old(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lacks what this release needs is named with its version."""
    monkeypatch.setattr(connection, "MIN_SERVER_VERSION", 99)
    await refused(empty_url, r"is PostgreSQL \d+, and this release needs 99")


async def test_a_user_that_may_not_create(postgres: PostgresServer, empty_url: str) -> None:
    """A user without a schema gets an error that says which command makes one."""
    await value(empty_url, "DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    with pytest.raises(StoreUnavailable, match=r"is version 0, .*run `session-gateway migrate` with the owner's role"):
        await PostgresStore(empty_url.replace("gateway@", "guest@")).open()


async def test_a_database_that_only_reads(postgres_url: str) -> None:
    """A standby, or a database set to read only, cannot be the gateway's; its pings say so too."""
    store = PostgresStore(postgres_url)
    await store.open()
    name = await value(postgres_url, "SELECT current_database()")
    await value(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    pool(store)._idle.clear()
    with pytest.raises(StoreUnavailable, match="only reads"):
        await store.ping()
    await store.close()
    with pytest.raises(StoreUnavailable, match="only reads"):
        await store.open()


async def test_connections_are_durable_and_impatient(store: PostgresStore) -> None:
    """Commits wait for the disk; no statement, lock or idle transaction may hold others up for long."""
    expected = {
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "statement_timeout": "2s",
        "lock_timeout": "1s",
        "idle_in_transaction_session_timeout": "2s",
    }
    assert await pool(store).run(lambda db: db.fetchval("SHOW fsync")) == "on"
    for name, setting in expected.items():
        shown = await pool(store).run(lambda db, name=name: db.fetchval(f"SELECT current_setting('{name}')"))  # type: ignore[misc]
        assert shown == setting


async def test_a_server_that_forgets_is_written_nothing(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where commits do not wait for the disk, as behind a proxy that drops our own setting, nothing is acknowledged."""
    name = await value(postgres_url, "SELECT current_database()")
    await value(postgres.url("postgres"), f"ALTER DATABASE {name} SET synchronous_commit = off")
    ours = {key: setting for key, setting in connection._SETTINGS.items() if key != "synchronous_commit"}
    store = PostgresStore(postgres_url)
    with monkeypatch.context() as proxied:
        proxied.setattr(connection, "_SETTINGS", ours)
        with pytest.raises(StoreUnavailable, match="the server has synchronous_commit off, though"):
            await store.open()
    await store.open()
    await store.close()


async def test_a_server_without_durability_is_logged(postgres: PostgresServer, postgres_url: str) -> None:
    """An administrator may want a server that forgets, for tests: a gateway works on it, and says what it is."""
    everywhere = postgres.url("postgres")
    store = PostgresStore(postgres_url)
    try:
        await value(everywhere, "ALTER SYSTEM SET full_page_writes = off")
        await value(everywhere, "SELECT pg_reload_conf()")
        await until_shown(everywhere, "full_page_writes", "off")
        with structlog.testing.capture_logs() as logged:
            await store.open()
        await store.close()
    finally:
        await value(everywhere, "ALTER SYSTEM RESET full_page_writes")
        await value(everywhere, "SELECT pg_reload_conf()")
        await until_shown(everywhere, "full_page_writes", "on")
    assert [(line["setting"], line["log_level"]) for line in logged] == [("full_page_writes", "warning")]


async def until_shown(url: str, name: str, setting: str) -> None:
    """Wait until the server has read its settings."""
    async with asyncio.timeout(60):
        while await value(url, f"SHOW {name}") != setting:  # noqa: ASYNC110 - nothing notifies of it
            await asyncio.sleep(0.02)


async def test_opening_twice_is_a_bug(store: PostgresStore) -> None:
    """A store is opened once."""
    with pytest.raises(RuntimeError, match="open already"):
        await store.open()
