"""Postings that arrive together are executed together, and one that cannot be fails alone."""

import asyncio
import sqlite3
from datetime import datetime
from decimal import Decimal, Inexact

import pytest
from msgspec import structs

from gateway.store.base import PostingRecords, StoreUnavailable
from gateway.store.models import Applied, EventType, Message, Posting, PostingFault, PostingRefused
from gateway.store.sqlite import SqliteStore
from tests.gateway.store.samples import (
    NOW,
    RecordsOf,
    cash,
    deliver,
    event,
    exchange,
    open_items,
    opened,
    posting,
    published_events,
    records,
    records_of,
)
from tests.gateway.store.sqlite.inside import held, statements, writer


async def selects(store: SqliteStore, said: list[str], postings: int) -> int:
    """How many reads a batch of that many postings takes."""
    async with held(store):
        said.clear()
        tasks = [asyncio.create_task(deliver(store, posting(f"{postings}-{n}"))) for n in range(postings)]
    await asyncio.gather(*tasks)
    return sum(statement.lstrip().startswith("SELECT") for statement in said)


async def test_a_batch_is_read_with_as_many_statements_as_one_posting(store: SqliteStore) -> None:
    """However many come together, and none of them under a savepoint."""
    await opened(store)
    said = await statements(store)
    assert await selects(store, said, 40) == await selects(store, said, 2)
    said.clear()
    await deliver(store, posting())
    assert not any("SAVEPOINT" in statement for statement in said)
    assert await store.discrepancies() == ()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
async def test_batches_of_any_size_find_what_is_kept(store: SqliteStore, size: int) -> None:
    """Every reference of a batch is looked up, and none is taken for another."""
    await opened(store)
    first = [await deliver(store, posting(f"ref-{number}")) for number in range(size)]
    async with held(store):
        again = [asyncio.create_task(deliver(store, posting(f"ref-{number}"))) for number in range(size)]
        new = asyncio.create_task(deliver(store, posting("ref-new")))
    ids = [result.transaction_id for result in first if isinstance(result, Applied)]
    replays = [await task for task in again]
    assert [result.transaction_id for result in replays if isinstance(result, Applied) and result.replayed] == ids
    result = await new
    assert isinstance(result, Applied)
    assert not result.replayed
    assert await cash(store) == Decimal("10.5") * (size + 1)


async def test_a_credit_resolves_what_was_open_before_its_batch(store: SqliteStore) -> None:
    """The item of the refusal is resolved, and a contradiction in the credit's own batch stays open."""
    refused = await deliver(store, posting())
    assert isinstance(refused, PostingRefused)
    await opened(store)
    async with held(store):
        credited = asyncio.create_task(deliver(store, posting()))
        other = asyncio.create_task(deliver(store, posting(amount=Decimal(1))))
    assert isinstance(await credited, Applied)
    assert isinstance(await other, PostingRefused)
    assert [each.field for each in await open_items(store)] == ["amount"]


# --- One that cannot be executed -----------------------------------------------------------------------------------


EVENT_OF_KNOWN_ID = records(exchange(), structs.replace(event(), id="known"))
NAIVE_TIME = records(exchange(started_at=datetime(2026, 11, 21)), event())  # noqa: DTZ001 - what must not be stored


def broken(_: object) -> PostingRecords:
    raise ZeroDivisionError("a bug")


BAD = [
    pytest.param(posting("bad"), EVENT_OF_KNOWN_ID, sqlite3.IntegrityError, id="a constraint"),
    pytest.param(posting("bad"), NAIVE_TIME, ValueError, id="a line that cannot be written"),
    pytest.param(posting("bad"), broken, ZeroDivisionError, id="records that cannot be made"),
    pytest.param(posting("bad", amount=Decimal("1E-300")), None, Inexact, id="a sum that cannot be exact"),
    pytest.param(posting("bad", user_id="\ud800"), None, UnicodeEncodeError, id="a name that is no text"),
]


@pytest.mark.parametrize(("bad", "bad_records", "error"), BAD)
async def test_a_posting_that_cannot_be_executed_fails_alone(
    store: SqliteStore, bad: Posting, bad_records: RecordsOf | None, error: type[Exception]
) -> None:
    """Its caller gets the error, the others are committed as if it had not come, and nothing of it is left."""
    await opened(store)
    await store.apply(posting("first"), NOW, records(event=structs.replace(event(reference="first"), id="known")))
    seen = await store.events_committed(-1)
    async with held(store):
        tasks = [
            asyncio.create_task(deliver(store, posting("a"))),
            asyncio.create_task(store.apply(bad, NOW, bad_records or records_of(bad))),
            asyncio.create_task(deliver(store, posting("a"))),
            asyncio.create_task(deliver(store, posting("a", round_id="other"))),
            asyncio.create_task(store.ping()),
            asyncio.create_task(deliver(store, posting("b"))),
        ]
    first, fell, again, mismatch, _, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(fell, error)
    assert isinstance(first, Applied)
    assert isinstance(again, Applied)
    assert (again.transaction_id, again.replayed) == (first.transaction_id, True)
    assert mismatch == PostingRefused(PostingFault.REFERENCE_REUSED, "round_id")
    assert isinstance(last, Applied)
    assert await cash(store) == Decimal("31.5")
    assert await store.credit("acme", "bad") is None
    async with asyncio.timeout(60):
        await store.events_committed(seen)
    events = await published_events(store)
    assert sorted(each.reference for each in events) == ["a", "a", "b", "first"]
    assert [each.type for each in events if each.reference == "a"] == [
        EventType.RESULT_CREDITED,
        EventType.RESULT_REFUSED,
    ]
    assert len(await store.exchanges()) == 4
    assert await store.discrepancies() == ()


async def test_postings_that_all_fail_leave_the_rest_of_the_batch(store: SqliteStore) -> None:
    """The other operations are executed, whatever the outcome of the postings."""
    await opened(store)
    async with held(store):
        tasks = [
            asyncio.create_task(store.apply(posting("a"), NOW, NAIVE_TIME)),
            asyncio.create_task(store.open_account("player-2", "EUR", Decimal(7), NOW)),
            asyncio.create_task(store.apply(posting("b"), NOW, NAIVE_TIME)),
        ]
    first, account, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert not isinstance(account, BaseException)
    assert await cash(store, "player-2") == 7


async def test_a_full_disk_fails_all_postings_of_the_batch(store: SqliteStore) -> None:
    """Where the file cannot grow nothing of the batch is stored, every caller gets the error, and it can be retried."""
    await opened(store)
    pages = await writer(store).run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await writer(store).run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    large = exchange(request=Message("", b"x" * 1_000_000))
    said = await statements(store)
    async with held(store):
        said.clear()
        tasks = [
            asyncio.create_task(deliver(store, posting("a"))),
            asyncio.create_task(store.apply(posting("b"), NOW, records(large))),
        ]
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, StoreUnavailable)
        assert result.unchanged
        assert "disk is full" in str(result)
    assert sum("SAVEPOINT" in statement for statement in said) <= 1  # the holder's: a full disk is not tried for each
    await writer(store).run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    assert await cash(store) == 0
    assert isinstance(await deliver(store, posting("a")), Applied)
    assert await store.discrepancies() == ()


async def test_a_batch_of_replays_wakes_no_subscriber(store: SqliteStore) -> None:
    """A replay adds no event."""
    await opened(store)
    await deliver(store, posting())
    seen = await store.events_committed(-1)
    async with held(store):
        tasks = [asyncio.create_task(deliver(store, posting())) for _ in range(3)]
    await asyncio.gather(*tasks)
    await store.ping()
    assert await store.events_committed(-1) == seen
