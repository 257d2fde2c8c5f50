"""Several hosts in one url: the first that accepts writes is used, and one that does not answer leaves time for it."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.factory import stored_money_providers
from gateway.store.models import Applied
from gateway.store.postgres import PostgresStore, connection
from tests.gateway.store.postgres.inside import committer, pool, value
from tests.gateway.store.samples import cash, deliver, opened, posting
from tests.support.ports import held_port
from tests.support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="module")
def other() -> Iterator[PostgresServer]:
    """A second server."""
    with postgres_server() as server:
        yield server


async def database(server: PostgresServer, name: str, *, read_only: bool = False) -> str:
    """A database of this name on a server, which accepts writes or, as a standby, does not."""
    await value(server.url("postgres"), f"CREATE DATABASE {name}")
    setting = "on" if read_only else "off"
    await value(server.url("postgres"), f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}")
    return server.url(name)


def both(first: str, server: PostgresServer, name: str) -> str:
    return f"postgresql://gateway:hunter2@/{name}?host={first},{server.folder}"


async def works(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await opened(store)
    assert isinstance(await deliver(store, posting()), Applied)
    assert await cash(store) == posting().amount
    await store.close()


async def test_hosts_that_are_down_are_passed_over(postgres: PostgresServer) -> None:
    """A host where nothing listens, a folder without a socket, and a name that does not exist come first."""
    await database(postgres, "hosts_down")
    with held_port() as port:
        await works(both(f"127.0.0.1:{port},/nowhere,nowhere.invalid", postgres, "hosts_down"))


async def test_a_host_that_hangs_takes_its_share_only(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that accepts and never answers does not use the time of those after it."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 3.0)
    await database(postgres, "hosts_silent")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = both(f"127.0.0.1:{silent.getsockname()[1]}", postgres, "hosts_silent")
        assert await stored_money_providers(url) == frozenset()


async def test_the_host_that_accepts_writes_is_used(postgres: PostgresServer, other: PostgresServer) -> None:
    """A standby that comes first is passed over; a look reads from it."""
    reading = await database(other, "hosts_standby", read_only=True)
    writing = await database(postgres, "hosts_standby")
    await works(both(str(other.folder), postgres, "hosts_standby"))
    assert await value(writing, "SELECT count(*) FROM transactions") == 1
    assert await value(reading, "SELECT to_regclass('transactions')") is None
    assert await stored_money_providers(both(str(other.folder), postgres, "hosts_standby")) == frozenset()


async def test_a_server_that_becomes_a_standby_is_left(postgres: PostgresServer) -> None:
    """A connection that only reads from now on is not kept: writes go on by another, and fail no caller."""
    url = await database(postgres, "hosts_demoted")
    store = PostgresStore(url)
    await store.open()
    await opened(store)
    assert await cash(store) == 0
    for db in (committer(store)._db, *(kept.db for kept in pool(store)._idle)):
        assert db is not None
        await db.execute("SET default_transaction_read_only = on")
    assert isinstance(await deliver(store, posting()), Applied)
    await store.ping()
    await store.close()


async def test_every_host_is_named_with_its_reason(postgres: PostgresServer, other: PostgresServer) -> None:
    """Where none can be used, the error says of each why, and never the password."""
    await database(other, "hosts_none", read_only=True)
    with held_port() as port:
        url = both(f"127.0.0.1:{port}", other, "hosts_none")
        with pytest.raises(
            StoreUnavailable, match=rf"127\.0\.0\.1:{port}: nothing listens.*; /.*: the server only"
        ) as e:
            await PostgresStore(url).open()
    assert "hunter2" not in str(e.value)


async def test_connections_say_whose_they_are(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_stat_activity shows the host, the process and the purpose, whatever the host is called."""
    monkeypatch.setattr(socket, "gethostname", lambda: "höst-" + "x" * 200)
    store = PostgresStore(postgres_url)
    await store.open()
    await store.newest_event_id()
    names = "SELECT string_agg(application_name, ' | ') FROM pg_stat_activity WHERE datname = current_database()"
    shown = str(await value(postgres_url, f"{names} AND pid <> pg_backend_pid()")).split(" | ")
    assert {name.rpartition(" ")[2] for name in shown} == {"writes", "reads", "sequencer"}
    for name in shown:
        assert name.startswith("session-gateway h?st-xxx")
        assert f"/{os.getpid()} " in name
        assert len(name) <= 63
    await store.close()
