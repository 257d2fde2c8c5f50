"""Group commit: one transaction for what arrives together, and each caller its own answer."""

import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from gateway.store import batching
from gateway.store.base import StoreUnavailable
from gateway.store.models import Applied
from gateway.store.sqlite import SqliteStore
from tests.gateway.store.samples import cash, deliver, exchange, opened, posting
from tests.gateway.store.sqlite.inside import held, statements, writer


async def test_what_arrives_together_is_committed_together(store: SqliteStore) -> None:
    """Twenty writers that came during a commit share the next one."""
    await opened(store)
    said = await statements(store)
    async with held(store):
        said.clear()
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(20)]
    assert all(isinstance(result, Applied) for result in await asyncio.gather(*tasks))
    assert said.count("COMMIT") == 2  # the holder's, and theirs
    assert await cash(store) == 210


async def test_a_cancelled_caller_harms_no_other(store: SqliteStore) -> None:
    """What was queued is executed; the others of the batch get their answers."""
    await opened(store)
    async with held(store):
        leaving = asyncio.create_task(deliver(store, posting("ref-1")))
        staying = asyncio.create_task(deliver(store, posting("ref-2")))
        await asyncio.sleep(0)
        leaving.cancel()
    assert isinstance(await staying, Applied)
    assert leaving.cancelled()
    assert await cash(store) == 21


async def test_a_locked_database_is_unavailable_and_recovers(store: SqliteStore, path: str) -> None:
    """While another holds the lock every write fails, reads succeed, and nothing is left behind."""
    await opened(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        results = await asyncio.gather(
            *(deliver(store, posting(f"ref-{number}")) for number in range(3)), store.ping(), return_exceptions=True
        )
        for result in results:
            assert isinstance(result, StoreUnavailable)
            assert result.unchanged
            assert path in str(result)
            assert "locked" in str(result)
        assert len({id(result) for result in results}) == len(results)
        assert await cash(store) == 0
        other.execute("ROLLBACK")
    assert isinstance(await deliver(store, posting("ref-0")), Applied)
    await store.ping()
    assert await cash(store) == Decimal("10.5")


async def test_a_lost_transaction_takes_its_whole_batch(store: SqliteStore) -> None:
    """Where SQLite itself rolls everything back, no operation of the batch succeeds."""
    await opened(store)

    def lose(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async with held(store):
        before = asyncio.create_task(deliver(store, posting("ref-1")))
        losing = asyncio.create_task(writer(store).run(lose))
        after = asyncio.create_task(deliver(store, posting("ref-2")))
    for result in await asyncio.gather(before, losing, after, return_exceptions=True):
        assert isinstance(result, StoreUnavailable)
        assert result.unchanged
    assert await cash(store) == 0
    assert isinstance(await deliver(store, posting("ref-1")), Applied)


async def test_a_commit_that_fails_fails_its_whole_batch(store: SqliteStore) -> None:
    """No caller returns before the commit; where it fails, `unchanged` is false."""
    await opened(store)

    def doom(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute(
            "INSERT INTO targets (request_id, number, provider, session_id, game_id) VALUES ('x', 1, '', '', '')"
        )

    async with held(store):
        tasks = [asyncio.create_task(deliver(store, posting())), asyncio.create_task(writer(store).run(doom))]
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, StoreUnavailable)
        assert not result.unchanged
    assert await cash(store) == 0
    assert isinstance(await deliver(store, posting()), Applied)


async def test_an_outage_inside_an_operation_is_unavailable(store: SqliteStore) -> None:
    """An error of the database is StoreUnavailable; a broken constraint is a bug and is raised as it is."""
    with pytest.raises(StoreUnavailable, match="no such table"):
        await writer(store).run(lambda db: db.execute("SELECT * FROM nowhere"))
    with pytest.raises(sqlite3.IntegrityError):
        await writer(store).run(lambda db: db.execute("INSERT INTO pings VALUES (2, 1)"))


async def test_an_outage_that_leaves_the_transaction_fails_alone(store: SqliteStore) -> None:
    """The other operations of the batch are committed."""
    await opened(store)

    def refused(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO pings (only, count) VALUES (1, 1)")
        db.execute("SELECT * FROM nowhere")

    async with held(store):
        credit = asyncio.create_task(deliver(store, posting()))
        line = asyncio.create_task(store.record_exchange(exchange()))
        outage = asyncio.create_task(writer(store).run(refused))
        account = asyncio.create_task(opened(store, "player-2"))
    results = await asyncio.gather(credit, line, outage, account, return_exceptions=True)
    assert isinstance(results[0], Applied)
    assert isinstance(results[2], StoreUnavailable)
    assert [results[1], results[3]] == [None, None]
    assert len(await store.exchanges()) == 2
    await writer(store).run(lambda db: db.execute("INSERT INTO pings (only, count) VALUES (1, 1)"))  # none is left


async def test_the_thread_outlives_any_bug(store: SqliteStore) -> None:
    """Even a BaseException is raised at the caller, and the writer works on."""

    class Stop(BaseException):
        pass

    def stop(db: sqlite3.Connection) -> None:
        raise Stop

    def end(db: sqlite3.Connection) -> None:
        raise StopIteration

    with pytest.raises(Stop):
        await writer(store).run(stop)
    with pytest.raises(RuntimeError):  # what a coroutine makes of StopIteration
        await writer(store).run(end)
    await store.ping()


async def test_a_long_queue_is_refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a stuck disk more callers are rejected; those in the queue are served."""
    monkeypatch.setattr(batching, "MAX_QUEUED", 2)
    async with held(store):
        tasks = [asyncio.create_task(store.ping()) for _ in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), StoreUnavailable]


async def test_a_long_queue_is_served_in_several_batches(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has a bound, and what is beyond it comes next, in order."""
    monkeypatch.setattr(batching, "MAX_BATCH_SIZE", 3)
    await opened(store)
    said = await statements(store)
    async with held(store):
        said.clear()
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(7)]
    balances = [result.cash for result in await asyncio.gather(*tasks) if isinstance(result, Applied)]
    assert balances == [Decimal("10.5") * number for number in range(1, 8)]
    assert said.count("COMMIT") == 4


async def test_closing_finishes_what_is_queued(path: str) -> None:
    """Operations from before `close` are finished; later ones raise StoreUnavailable."""
    store = SqliteStore(path)
    await store.open()
    await opened(store)
    async with held(store):
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(5)]
        await asyncio.sleep(0)
        closing_store = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await store.ping()
    results = await asyncio.gather(*tasks)
    assert all(isinstance(result, Applied) for result in results)
    await closing_store
    with pytest.raises(StoreUnavailable):
        await store.balance("player-1", "EUR")
    await store.close()

    await store.open()
    assert await cash(store) == Decimal("52.5")
    await store.close()


async def test_a_closed_thread_takes_nothing(path: str) -> None:
    """An operation that comes too late is refused at once, and does not wait for a thread that has ended."""
    store = SqliteStore(path)
    await store.open()
    ended = writer(store)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        async with asyncio.timeout(60):
            await ended.run(lambda db: None)
