"""Outages: every caller gets the right error in time, nothing piles up, and the store recovers by itself."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.batching import MAX_QUEUED
from gateway.store.models import Applied
from gateway.store.postgres import PostgresStore
from gateway.store.postgres import committer as committer_module
from gateway.store.postgres import pool as pool_module
from tests.gateway.store.postgres.inside import committer, held, pool, value
from tests.gateway.store.postgres.proxy import Proxy, proxied
from tests.gateway.store.samples import cash, deliver, exchange, opened, posting
from tests.support.postgres import PostgresServer, postgres_server

HANGS_S = 60.0
"""An operation that takes longer has no timeout."""


@dataclass(frozen=True, slots=True)
class Line:
    """A store, and the line between it and its server."""

    store: PostgresStore
    proxy: Proxy
    url: str
    """Past the proxy."""


@pytest.fixture
async def line(postgres: PostgresServer, postgres_url: str) -> AsyncIterator[Line]:
    """An open store behind a proxy, with an account."""
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(postgres.folder, Path(folder)) as proxy:
            store = PostgresStore(postgres_url.replace(str(postgres.folder), folder))
            await store.open()
            await opened(store)
            yield Line(store, proxy, postgres_url)
            await store.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with postgres_server() as server:
        yield server


async def until_applied(store: PostgresStore, reference: str) -> Applied:
    """Deliver as a provider does: again until it is answered."""
    async with asyncio.timeout(60):
        while True:
            try:
                result = await deliver(store, posting(reference))
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                assert isinstance(result, Applied)
                return result


def committing(store: PostgresStore, happens: Callable[[], None]) -> None:
    """Have something happen right before the next COMMIT of a batch with events."""
    db = committer(store)._db
    assert db is not None
    db.add_query_logger(lambda query: happens() if "INSERT INTO events" in query.query else None)


async def test_a_lost_acknowledgement_is_an_unknown_outcome(line: Line) -> None:
    """Where the answer to COMMIT is lost, `unchanged` is false, nothing is retried, and the write is found."""
    async with held(line.store):
        waiting = [asyncio.create_task(deliver(line.store, posting(f"ref-{number}"))) for number in range(3)]
        committing(line.store, partial(setattr, line.proxy, "commits_to_lose", 1))
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, StoreUnavailable)
        assert not result.unchanged
    assert await cash(line.store) == Decimal("31.5")
    for number in range(3):
        again = await deliver(line.store, posting(f"ref-{number}"))
        assert isinstance(again, Applied)
        assert again.replayed
    assert await cash(line.store) == Decimal("31.5")


async def test_a_connection_that_was_cut_is_made_again(line: Line) -> None:
    """A connection that breaks while idle fails no operation."""
    assert await cash(line.store) == 0
    for number in range(3):
        line.proxy.cut()
        assert isinstance(await deliver(line.store, posting(f"ref-{number}")), Applied)
        await cash(line.store)
        line.proxy.cut()
        await line.store.ping()
        assert await cash(line.store) == Decimal("10.5") * (number + 1)


async def test_a_protocol_that_broke_is_an_outage(line: Line) -> None:
    """An internal error of asyncpg, as where an answer is cut off in the middle, is raised as any outage."""

    async def broken(_: object) -> None:
        raise asyncpg.InternalClientError("got result for unknown protocol state 0")

    before = committer(line.store)._db
    for work in (pool(line.store).run(broken), committer(line.store).run(broken)):
        with pytest.raises(StoreUnavailable, match="unknown protocol state"):
            await work
    assert isinstance(await deliver(line.store, posting()), Applied)
    assert committer(line.store)._db is not before
    assert await cash(line.store) == Decimal("10.5")


async def test_a_server_that_only_read_for_a_while_is_left(line: Line, postgres: PostgresServer) -> None:
    """Connections made while the name led to a standby are not kept: the gateway finds the primary by itself."""
    name = await value(line.url, "SELECT current_database()")
    await value(line.url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    line.proxy.cut()
    for work in (deliver(line.store, posting()), line.store.ping(), cash(line.store)):
        with pytest.raises(StoreUnavailable, match="only reads"):
            await work
    await value(postgres.url("postgres"), f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert isinstance(await deliver(line.store, posting()), Applied)
    await line.store.ping()
    assert await cash(line.store) == Decimal("10.5")


async def test_an_account_that_another_session_locks_is_delayed_alone(line: Line) -> None:
    """A session that leaves an account locked fails that player's Results, and no other's."""
    await opened(line.store, "held")
    until = time.monotonic() + 4
    outcomes: Counter[tuple[str, type]] = Counter()

    async def provider(name: str, user_id: str) -> None:
        number = 0
        while time.monotonic() < until:
            (result,) = await asyncio.gather(
                deliver(line.store, posting(f"{name}-{number}", user_id=user_id)), return_exceptions=True
            )
            outcomes[user_id, type(result)] += 1
            number += 1

    other = await asyncpg.connect(line.url)
    async with other.transaction():
        await other.execute("SELECT 1 FROM accounts WHERE user_id = 'held' FOR UPDATE")
        async with asyncio.TaskGroup() as group:
            group.create_task(provider("held", "held"))
            for number in range(10):
                group.create_task(provider(f"free-{number}", "player-1"))
    await other.close()
    assert outcomes["held", StoreUnavailable] > 3
    assert outcomes["player-1", Applied] > 100
    assert set(outcomes) == {("held", StoreUnavailable), ("player-1", Applied)}
    assert isinstance(await deliver(line.store, posting("held-0", user_id="held")), Applied)


def test_timeouts_are_shorter_than_a_provider_waits() -> None:
    """A provider waits four seconds: the longest write and the longest read leave time to answer."""
    assert committer_module.QUEUE_TIMEOUT_S + committer_module.BATCH_TIMEOUT_S <= 3
    assert pool_module.ACQUIRE_TIMEOUT_S + pool_module.READ_TIMEOUT_S <= 3


async def test_a_frozen_server_fails_in_time(line: Line) -> None:
    """Writes, reads and pings behind a server that does not answer fail in time, unchanged, and work when it does."""
    assert isinstance(await deliver(line.store, posting("before")), Applied)
    await asyncio.gather(*(cash(line.store) for _ in range(20)))  # so that connections for reads rest
    line.proxy.freeze()

    async def timed(work: Awaitable[object], delay: float) -> None:
        await asyncio.sleep(delay)
        with pytest.raises(StoreUnavailable) as caught:
            async with asyncio.timeout(HANGS_S):
                await work
        assert caught.value.unchanged

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            for work in (deliver(line.store, posting(f"ref-{number}")), line.store.ping(), cash(line.store)):
                group.create_task(timed(work, delay=number * 0.1))
    assert not committer(line.store)._queue
    line.proxy.thaw()
    await until_applied(line.store, "after")
    assert await cash(line.store) == 21
    assert await line.store.discrepancies() == ()


async def test_a_server_that_freezes_at_commit_leaves_doubt(line: Line) -> None:
    """Where COMMIT was sent and the server hangs, its callers get `unchanged=False` in time."""
    committing(line.store, line.proxy.freeze)
    with pytest.raises(StoreUnavailable) as caught:
        async with asyncio.timeout(HANGS_S):
            await deliver(line.store, posting("doubt"))
    assert not caught.value.unchanged
    line.proxy.thaw()
    await until_applied(line.store, "doubt")
    assert await cash(line.store) == Decimal("10.5")


async def test_nothing_piles_up_behind_a_frozen_server(line: Line) -> None:
    """Of a flood, what fits the queue fails in time and the rest at once; the queue is empty afterwards."""
    line.proxy.freeze()
    async with asyncio.timeout(HANGS_S):
        results = await asyncio.gather(
            *(deliver(line.store, posting(f"ref-{number}")) for number in range(MAX_QUEUED + 2000)),
            return_exceptions=True,
        )
    assert Counter(type(result) for result in results) == {StoreUnavailable: MAX_QUEUED + 2000}
    assert sum("wait for it already" in str(result) for result in results) >= 1500
    assert not committer(line.store)._queue


async def test_a_server_that_stops_at_once_and_starts_again(own_server: PostgresServer) -> None:
    """Under load, what is acknowledged is there once, and the store goes on without help."""
    url = own_server.url(await own_server.create())
    store = PostgresStore(url)
    await store.open()
    await opened(store)
    stop = asyncio.Event()
    references: list[str] = []

    async def player(number: int) -> None:
        for turn in range(10_000):
            if stop.is_set():
                return
            references.append(f"{number}-{turn}")
            await until_applied(store, references[-1])

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(player(number))
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_server.stop, "immediate")
            with pytest.raises(StoreUnavailable):
                await store.ping()
            await asyncio.to_thread(own_server.start)
            await until_applied(store, f"round-{len(references)}")
            references.append(f"round-{len(references)}")
        stop.set()
    credited = await value(url, "SELECT count(*) FROM transactions")
    assert credited == len(references)
    assert await cash(store) == Decimal("10.5") * len(references)
    assert await store.discrepancies() == ()
    await store.close()


async def test_reads_wait_for_a_connection_and_not_for_ever(store: PostgresStore) -> None:
    """Where all connections for reads are busy, the next waits, and fails in time; then they serve again."""
    release = asyncio.Event()
    busy = [asyncio.create_task(pool(store).run(lambda db: release.wait())) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="all 6 connections"):
        async with asyncio.timeout(HANGS_S):
            await cash(store)
    assert isinstance(await asyncio.gather(store.record_exchange(exchange())), list)
    release.set()
    await asyncio.gather(*busy)
    await store.ping()


async def test_a_store_holds_no_more_connections_than_it_may(postgres_url: str) -> None:
    """However many read and write at once, pool_size bounds the server's connections."""
    store = PostgresStore(postgres_url, pool_size=4)
    await store.open()
    await opened(store)
    many = (deliver(store, posting(f"ref-{number}")) for number in range(100))
    reads = (cash(store) for _ in range(200))
    await asyncio.gather(*many, *reads)
    held_now = await value(
        postgres_url,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'session-%'"
        " AND datname = current_database()",
    )
    assert held_now == 4
    await store.close()


async def test_a_cancelled_read_harms_no_other(store: PostgresStore, postgres_url: str) -> None:
    """A read that is cancelled leaves neither a task nor a broken connection behind."""
    await store.newest_event_id()
    before = asyncio.all_tasks()
    leaving = [asyncio.create_task(pool(store).run(lambda db: db.fetch("SELECT pg_sleep(1)"))) for _ in range(6)]
    await value(postgres_url, "SELECT 1")  # by then they sleep
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    await asyncio.gather(*(store.newest_event_id() for _ in range(20)))
