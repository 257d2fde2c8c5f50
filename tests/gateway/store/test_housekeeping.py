"""What each gateway does to its store from time to time, on each engine: bodies go by age, and nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from gateway.store import housekeeping
from gateway.store.base import Store, StoreUnavailable
from gateway.store.housekeeping import ABANDONED_AFTER, Housekeeping
from gateway.store.models import Applied, Exchange, Message
from gateway.store.reconciliation import ReconciliationKind
from gateway.store.sqlite import SqliteStore
from tests.gateway.store.samples import (
    NOW,
    deliver,
    event,
    exchange,
    item,
    open_items,
    posting,
    published_events,
    records,
    target,
)
from tests.support.actors import ADA
from tests.support.waiting import until

KEPT = timedelta(days=90)

FULL = Message("Content-Type: application/json", b'{"reference":"ref-1"}')

Failing = Callable[[], Exception | None]


def at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def trimmed(line: Exchange) -> Exchange:
    return structs.replace(line, request=Message(), reply=Message(), trimmed=True)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of one process, whose clock is the only one."""
    store = SqliteStore(str(tmp_path / "gateway.db"))
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def keeping(
    store: Store, clock: Callable[[], datetime], *, alone: bool = True, keep_bodies: timedelta | None = KEPT
) -> AsyncIterator[None]:
    """Housekeeping, round after round."""
    keeper = Housekeeping(store, clock, alone=alone, keep_bodies=keep_bodies, interval_s=0.01)
    keeper.start()
    try:
        yield
    finally:
        await keeper.stop()


class Counted:
    """A store that counts the rounds, and fails as set."""

    def __init__(self, store: Store, failing: Failing = lambda: None) -> None:
        self._store = store
        self._failing = failing
        self.rounds = 0

    async def report_abandoned(self, older_than: timedelta, now: datetime) -> int:
        self.rounds += 1
        if error := self._failing():
            raise error
        return await self._store.report_abandoned(older_than, now)

    async def trim_bodies(self, ended_before: datetime, limit: int) -> int:
        if error := self._failing():
            raise error
        return await self._store.trim_bodies(ended_before, limit)

    async def for_rounds(self, number: int) -> None:
        """Wait until that many rounds are over."""
        async with asyncio.timeout(60):
            while self.rounds <= number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def kept_for(
    store: Store, clock: Callable[[], datetime], *, alone: bool = True, keep_bodies: timedelta | None = KEPT
) -> None:
    """Two rounds of housekeeping."""
    counted = Counted(store)
    async with keeping(cast("Store", counted), clock, alone=alone, keep_bodies=keep_bodies):
        await counted.for_rounds(2)


# --- Bodies -----------------------------------------------------------------------------------------------------------


async def test_old_bodies_go_in_small_steps_and_young_ones_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines that are older go in one round, however many; one that is as old as is allowed stays."""
    monkeypatch.setattr(housekeeping, "TRIM_BATCH_SIZE", 2)
    old = [exchange(request=FULL, reply=FULL, ended_at=NOW - timedelta(seconds=1 + each)) for each in range(5)]
    young = exchange(request=FULL, reply=FULL, ended_at=NOW)
    for line in (*old, young):
        await store.record_exchange(line)
    counted = Counted(store)
    async with keeping(cast("Store", counted), at(NOW + KEPT)):
        await counted.for_rounds(1)
    assert await store.exchanges() == (*map(trimmed, old), young)


async def test_the_facts_of_money_stay(store: Store) -> None:
    """Balances, transactions, events and items are what they were; a Result that is sent again is known."""
    await store.open_account("player-1", "EUR", Decimal(5), NOW)
    content = posting("ref-1", promo_amount=Decimal(2), promo_reference="promo-1")
    line = exchange(request=FULL, reply=FULL, detail="a fact")
    stored = await store.apply(content, NOW, records(line, event(reference="ref-1")))
    await deliver(store, posting("ref-2", user_id="nobody"))
    assert isinstance(stored.outcome, Applied)
    before = (
        await store.credit("acme", "ref-1"),
        await store.credit("acme", "promo-1"),
        await store.credits_of("player-1"),
        await store.balance("player-1", "EUR"),
        await published_events(store),
        await open_items(store),
    )
    await kept_for(store, at(NOW + 10 * KEPT))
    assert await store.exchange(line.id) == trimmed(line)
    after = (
        await store.credit("acme", "ref-1"),
        await store.credit("acme", "promo-1"),
        await store.credits_of("player-1"),
        await store.balance("player-1", "EUR"),
        await published_events(store),
        await open_items(store),
    )
    assert after == before
    assert await deliver(store, content) == structs.replace(stored.outcome, replayed=True)
    assert await store.discrepancies() == ()


async def test_lines_of_open_items_are_not_trimmed(store: Store) -> None:
    """The callback of an open item keeps its body, whatever its age, until the item is settled."""
    line = exchange(request=FULL)
    await store.record_exchange(line, found := item(exchange_id=line.id))
    await kept_for(store, at(NOW + 10 * KEPT))
    assert await store.exchange(line.id) == line
    await store.resolve_item(found.id, ADA, "paid by hand", NOW)
    await kept_for(store, at(NOW + 10 * KEPT))
    assert await store.exchange(line.id) == trimmed(line)


async def test_nothing_is_trimmed_by_default(store: Store) -> None:
    """Without an age, bodies are kept permanently."""
    line = exchange(request=FULL)
    await store.record_exchange(line)
    await kept_for(store, at(NOW + 1000 * KEPT), keep_bodies=None)
    assert await store.exchanges() == (line,)


# --- Attempts that were cut off ---------------------------------------------------------------------------------------


async def cut_off(store: Store) -> tuple[str, ...]:
    """The closes that have an item of an unknown outcome."""
    return tuple(item.reference for item in await open_items(store) if item.kind is ReconciliationKind.CLOSE_UNKNOWN)


async def test_alone_what_is_in_progress_at_the_start_was_cut_off(store: Store) -> None:
    """The process before this one left it: an operator learns of it at once, and once."""
    request_id = str(uuid4())
    await store.begin_close(request_id, target(), NOW)
    await kept_for(store, at(NOW + timedelta(seconds=1)))
    assert await cut_off(store) == (request_id,)


async def test_later_it_has_the_time_that_any_attempt_may_take(sqlite: Store) -> None:
    """What this process began is cut off only when it is older than any attempt can be."""
    request_id = str(uuid4())
    await sqlite.begin_close(request_id, target(), NOW)
    await kept_for(sqlite, at(NOW + ABANDONED_AFTER), alone=False)
    assert await cut_off(sqlite) == ()
    await kept_for(sqlite, at(NOW + ABANDONED_AFTER + timedelta(seconds=1)), alone=False)
    assert await cut_off(sqlite) == (request_id,)


async def test_what_begins_after_the_start_is_not_cut_off(sqlite: Store) -> None:
    """A close that comes before the first round has begun to run is this gateway's, and in progress."""
    counted = Counted(sqlite)
    async with keeping(cast("Store", counted), lambda: datetime.now(UTC)):
        await sqlite.begin_close(str(uuid4()), target(), datetime.now(UTC))
        await counted.for_rounds(2)
    assert await cut_off(sqlite) == ()


# --- Trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreUnavailable("the disk is full"), "housekeeping failed"), (RuntimeError("a bug"), "gateway error")],
    ids=["outage", "bug"],
)
async def test_what_fails_is_tried_again(store: Store, error: Exception, said: str) -> None:
    """Neither an outage nor a bug ends the rounds, or keeps the gateway from stopping in order."""
    line = exchange(request=FULL)
    await store.record_exchange(line)
    failing: list[Exception] = [error] * 4
    counted = Counted(store, lambda: failing.pop() if failing else None)

    async def gone() -> bool:
        return await store.exchanges() == (trimmed(line),)

    with capture_logs() as lines:
        async with keeping(cast("Store", counted), at(NOW + 2 * KEPT)):
            await until(gone)
    assert not failing
    assert sum(said in line["event"] for line in lines) == 4


async def test_it_stops_though_it_never_started(store: Store) -> None:
    """A gateway that cannot start stops what it has not begun."""
    await Housekeeping(store, at(NOW), alone=True).stop()
