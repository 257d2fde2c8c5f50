"""Group commit: one transaction for what arrives together, and each caller its own answer."""

import asyncio
import secrets
from decimal import Decimal

import asyncpg
import pytest

from adapters.contract import Certainty
from gateway.store import batching
from gateway.store.base import AlreadyResolved, ContentDiffers, PostingRecords, StoreUnavailable
from gateway.store.models import Applied, Message
from gateway.store.postgres import PostgresStore, sequencer
from gateway.store.postgres import committer as committer_module
from gateway.store.postgres.unit_of_work import UnitOfWork
from tests.gateway.store.postgres.inside import committer, held, statements, value
from tests.gateway.store.samples import (
    NOW,
    cash,
    deliver,
    event,
    exchange,
    failed,
    item,
    opened,
    posting,
    published_events,
    target,
)
from tests.support.actors import ADA, BOB


async def test_what_arrives_together_is_committed_together(store: PostgresStore) -> None:
    """Twenty writers that came during a commit share the next one, and a handful of statements."""
    await opened(store)
    async with held(store):
        said = statements(store)
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(20)]
    assert all(isinstance(result, Applied) for result in await asyncio.gather(*tasks))
    assert said == ["COMMIT", "BEGIN", "SELECT", "SELECT", "WITH", "SELECT", "INSERT", "INSERT", "COMMIT"]
    assert await cash(store) == 210


async def test_a_bug_fails_its_operation_alone(store: PostgresStore) -> None:
    """Records, an amount, a key and an operation that are wrong fail alone, each with its own error."""
    await opened(store)

    def broken(result: object) -> PostingRecords:
        raise ZeroDivisionError("a bug")

    async def wrong(writing: UnitOfWork) -> None:
        await writing.db.execute("INSERT INTO pings (one, count) VALUES (2, 1)")

    async with held(store):
        tasks = [
            asyncio.ensure_future(each)
            for each in (
                deliver(store, posting("ref-1")),
                store.apply(posting("ref-2"), NOW, broken),
                deliver(store, posting("ref-3")),
                deliver(store, posting("ref-4", amount=Decimal("NaN"))),
                deliver(store, posting("ref-5")),
                deliver(store, posting("ref\0-6")),
                deliver(store, posting("ref-7", round_id="half a \ud83d character")),
                committer(store).run(wrong),
                store.record_exchange(exchange()),
                deliver(store, posting("ref-8")),
            )
        ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        Applied,
        ZeroDivisionError,
        Applied,
        asyncpg.CheckViolationError,
        Applied,
        ValueError,
        ValueError,
        asyncpg.CheckViolationError,
        type(None),
        Applied,
    ]
    assert "NUL" in str(results[5])
    assert "lone surrogate" in str(results[6])
    assert await cash(store) == 42
    assert [line.verdict for line in await store.exchanges()] == ["CREDITED"] * 5
    assert len(await published_events(store)) == 4


async def test_the_longest_ids_fit(store: PostgresStore) -> None:
    """Ids of 255 characters of any script are kept, and known again."""
    one, other, third, fourth = (random_id(255) for _ in range(4))
    await opened(store, one)
    content = posting(other, user_id=one, promo_amount=Decimal(1), promo_reference=third)
    assert isinstance(await deliver(store, content), Applied)
    for new in (True, False):
        assert await store.record_expiry(event(user_id=one, session_id=other), third, exchange()) is new
    assert await store.record_expiry(event(user_id=one, session_id=other), fourth, exchange())
    await store.record_exchange(exchange(), item(reference=third, user_id=fourth))


async def test_a_key_too_long_for_an_index_fails_alone(store: PostgresStore) -> None:
    """A key that is longer than the server can index is its operation's fault alone."""
    await opened(store)
    async with held(store):
        tasks = [
            asyncio.create_task(deliver(store, posting())),
            asyncio.create_task(store.record_exchange(exchange(), item(reference=random_id(3000)))),
        ]
    applied, failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(applied, Applied)
    assert isinstance(failed, asyncpg.ProgramLimitExceededError)


async def test_a_refusal_costs_its_neighbours_nothing(store: PostgresStore) -> None:
    """What is refused before it writes is its caller's alone: the batch is committed at the first try."""
    await store.begin_close("request-1", target(), NOW)
    await store.record_exchange(exchange(), kept := item())
    await store.resolve_item(kept.id, ADA, "seen", NOW)
    async with held(store):
        said = statements(store)
        tasks = [
            asyncio.ensure_future(each)
            for each in (
                store.begin_close("request-1", target(reason="other"), NOW),
                store.fail_close("request-2", failed(Certainty.UNKNOWN), exchange()),
                store.resolve_item(kept.id, BOB, "me too", NOW),
                store.resolve_item("nothing", BOB, "me too", NOW),
                store.record_exchange(exchange()),
            )
        ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        ContentDiffers,
        LookupError,
        AlreadyResolved,
        LookupError,
        type(None),
    ]
    assert (said.count("BEGIN"), said.count("COMMIT"), said.count("ROLLBACK")) == (1, 2, 0)
    assert len(await store.exchanges()) == 2


async def test_a_bug_that_looks_like_a_refusal_is_none(store: PostgresStore, postgres_url: str) -> None:
    """A KeyError may come after a write: its operation is rolled back, and the other one is committed."""

    async def wrong(writing: UnitOfWork) -> None:
        await writing.db.execute("INSERT INTO providers (name) VALUES ('half')")
        raise KeyError("half")

    async with held(store):
        tasks = [
            asyncio.create_task(committer(store).run(wrong)),
            asyncio.create_task(store.record_exchange(exchange())),
        ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, type(None)]
    assert await value(postgres_url, "SELECT count(*) FROM providers") == 0
    assert await value(postgres_url, "SELECT count(*) FROM exchanges") == 1


async def test_a_line_is_kept_whatever_a_provider_sent(store: PostgresStore) -> None:
    """NUL and halves of characters are shown as such in the journal's texts, and bodies are bytes as they came."""
    odd = "a\0b\ud83dc"
    await store.record_exchange(
        exchange(path=odd, detail=odd, request=Message(odd, b"\0\xff"), reply=Message("\0", b""))
    )
    (line,) = await store.exchanges()
    assert line.path == line.detail == line.request.head == "a\ufffdb\ufffdc"
    assert (line.request.body, line.reply.head) == (b"\0\xff", "\ufffd")


async def test_a_cancelled_caller_harms_no_other(store: PostgresStore) -> None:
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


async def test_a_commit_that_fails_is_retried_in_parts(store: PostgresStore, postgres_url: str) -> None:
    """A batch that the server refuses to commit is rolled back, and each request is tried alone."""
    await value(
        postgres_url,
        "ALTER TABLE targets ALTER CONSTRAINT targets_request_id_fkey DEFERRABLE INITIALLY DEFERRED",
    )
    await opened(store)

    async def doom(writing: UnitOfWork) -> None:
        await writing.db.execute(
            "INSERT INTO targets (request_id, number, provider, session_id, game_id) VALUES ('x', 1, '', '', '')"
        )

    async with held(store):
        tasks = [asyncio.create_task(deliver(store, posting())), asyncio.create_task(committer(store).run(doom))]
    applied, doomed = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(applied, Applied)
    assert isinstance(doomed, asyncpg.ForeignKeyViolationError)
    assert await cash(store) == Decimal("10.5")


async def test_a_long_queue_is_refused(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a stuck server more callers are rejected; those in the queue are served."""
    monkeypatch.setattr(batching, "MAX_QUEUED", 2)
    async with held(store):
        tasks = [asyncio.create_task(store.record_exchange(exchange())) for _ in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), StoreUnavailable]


async def test_the_queue_has_a_timeout(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that waits too long raises StoreUnavailable with `unchanged`."""
    async with held(store):
        monkeypatch.setattr(committer_module, "QUEUE_TIMEOUT_S", 0.0)
        task = asyncio.create_task(store.record_exchange(exchange()))
    with pytest.raises(StoreUnavailable, match="wait longer") as caught:
        await task
    assert caught.value.unchanged
    assert await store.exchanges() == ()


async def test_a_long_queue_is_served_in_several_batches(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has a bound, and what is beyond it comes next, in order."""
    monkeypatch.setattr(batching, "MAX_BATCH_SIZE", 3)
    await opened(store)
    async with held(store):
        said = statements(store)
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(7)]
    balances = [result.cash for result in await asyncio.gather(*tasks) if isinstance(result, Applied)]
    assert balances == [Decimal("10.5") * number for number in range(1, 8)]
    assert said.count("COMMIT") == 4


async def test_closing_finishes_what_is_queued(postgres_url: str) -> None:
    """Operations from before `close` are finished; later ones raise StoreUnavailable."""
    store = PostgresStore(postgres_url)
    await store.open()
    await opened(store)
    writes = committer(store)
    async with held(store):
        tasks = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(5)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await store.ping()
    assert all(isinstance(result, Applied) for result in await asyncio.gather(*tasks))
    await closing
    with pytest.raises(StoreUnavailable, match="closed"):
        await writes.run(lambda writing: writing.finish())
    await store.close()
    await store.open()
    assert await cash(store) == Decimal("52.5")
    await store.close()


async def test_a_commit_wakes_subscribers_at_once(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequencer is woken by the commit of an event, and does not wait for its next poll."""
    monkeypatch.setattr(sequencer, "POLL_INTERVAL_S", 3600.0)
    store = PostgresStore(postgres_url)
    await store.open()
    await opened(store)
    for number in range(3):
        await deliver(store, posting(f"ref-{number}"))
        assert len(await published_events(store)) == number + 1
    await store.close()


async def test_a_batch_reads_what_it_needs_and_no_more(store: PostgresStore, postgres_url: str) -> None:
    """A store that was opened on empty tables does not read them whole once they have grown."""
    await opened(store)
    for number in range(300):
        await opened(store, f"other-{number}")
    for batch in range(10):
        await asyncio.gather(*(deliver(store, posting(f"{batch}-{number}")) for number in range(50)))
        await asyncio.gather(*(deliver(store, posting(f"{batch}-{number}", user_id="x")) for number in range(50)))
    before = await rows_read(store, postgres_url)
    for batch in range(10, 15):
        await asyncio.gather(*(deliver(store, posting(f"{batch}-{number}")) for number in range(20)))
    assert await rows_read(store, postgres_url) - before < 5 * 20 * 5


async def rows_read(store: PostgresStore, url: str) -> int:
    """Rows of the ledger's tables that were read to this moment."""

    async def flush(writing: UnitOfWork) -> None:
        await writing.db.execute("SELECT pg_stat_force_next_flush()")

    await committer(store).run(flush)
    await store.ping()
    found = await value(
        url,
        """
        SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables
        WHERE relname IN ('transactions', 'accounts', 'reconciliation_items')
        """,
    )
    assert isinstance(found, int)
    return found


def random_id(length: int) -> str:
    """An id that no compression makes shorter, of characters of four bytes."""
    return "".join(chr(0x10000 + secrets.randbelow(0xFFFFF)) for _ in range(length))
