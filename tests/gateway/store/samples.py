"""Values that the store's tests keep and look for again."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from msgspec import structs

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.base import EventUnknown, PostingRecords, Store
from gateway.store.models import (
    Applied,
    Balance,
    CloseFailure,
    CloseSuccess,
    Direction,
    Event,
    EventFilter,
    EventType,
    Exchange,
    Message,
    Posting,
    PostingRefused,
    Target,
)
from gateway.store.reconciliation import ItemFilter, ReconciliationItem, ReconciliationKind

NOW = datetime(2026, 11, 21, 12, 30, 0, 123456, tzinfo=UTC)


def posting(reference: str = "ref-1", **fields: Any) -> Posting:
    """A Result of 10.50 EUR for player-1, with these fields changed."""
    standard = Posting("acme", reference, "player-1", "EUR", Decimal("10.50"), "round-1", "game-1", "session-1")
    return structs.replace(standard, **fields)


def exchange(**fields: Any) -> Exchange:
    """A journal line with a new id, with these fields changed."""
    standard = Exchange(
        id=uuid4().hex,
        direction=Direction.INBOUND,
        provider="acme",
        operation="V4/Result",
        method="POST",
        path="/V4/Result",
        request=Message("Content-Type: application/json", b"{}"),
        started_at=NOW,
        ended_at=NOW + timedelta(milliseconds=7),
        verdict="CREDITED",
    )
    return structs.replace(standard, **fields)


def event(type: EventType = EventType.RESULT_CREDITED, **fields: Any) -> Event:
    """An event with a new id, with these fields changed."""
    return structs.replace(Event(uuid4().hex, type, NOW, "acme", "player-1"), **fields)


def item(**fields: Any) -> ReconciliationItem:
    """A reconciliation item with a new id, with these fields changed."""
    standard = ReconciliationItem(
        id=uuid4().hex,
        provider="acme",
        reference="ref-1",
        fault="ACCOUNT_UNKNOWN",
        field="user_id",
        detail="player-1 has no account",
        user_id="player-1",
        created_at=NOW,
        exchange_id="exchange-0",
    )
    return structs.replace(standard, **fields)


RecordsOf = Callable[[Applied | PostingRefused], PostingRecords]


def records_of(posting: Posting) -> RecordsOf:
    """The records of a posting's outcome: a line and an event, and an item where it is refused."""

    def make(outcome: Applied | PostingRefused) -> PostingRecords:
        if isinstance(outcome, Applied):
            credited = event(EventType.RESULT_CREDITED, user_id=posting.user_id, reference=posting.reference)
            return PostingRecords(outcome=outcome, exchange=exchange(provider=posting.provider), event=credited)
        refused = event(EventType.RESULT_REFUSED, user_id=posting.user_id, reference=posting.reference)
        line = exchange(provider=posting.provider, verdict=outcome.fault.value)
        open_item = item(
            provider=posting.provider,
            reference=posting.reference,
            fault=outcome.fault.value,
            field=outcome.field,
            user_id=posting.user_id,
            exchange_id=line.id,
        )
        return PostingRecords(outcome=outcome, exchange=line, event=refused, item=open_item)

    return make


def records(
    exchange: Exchange | None = None, event: Event | None = None, item: ReconciliationItem | None = None
) -> RecordsOf:
    """These records, whatever the outcome."""
    return lambda outcome: PostingRecords(outcome=outcome, exchange=exchange, event=event, item=item)


async def opened(store: Store, user_id: str = "player-1", currency: str = "EUR") -> None:
    """Open an account without money."""
    await store.open_account(user_id, currency, Decimal(0), NOW)


async def cash(store: Store, user_id: str = "player-1", currency: str = "EUR") -> Decimal:
    """What the account holds."""
    balance = await store.balance(user_id, currency)
    assert isinstance(balance, Balance)
    return balance.cash


async def deliver(store: Store, posting: Posting) -> Applied | PostingRefused:
    """One delivery of a Result."""
    return (await store.apply(posting, NOW, records_of(posting))).outcome


def target(**fields: Any) -> Target:
    """The content of a CloseSession, with these fields changed."""
    return structs.replace(Target("acme", "player-1", reason="self-exclusion"), **fields)


def outbound(**fields: Any) -> Exchange:
    """The journal line of a close, with these fields changed."""
    line = exchange(direction=Direction.OUTBOUND, operation="close_session", path="/V4/CloseSession")
    return structs.replace(line, **fields)


def unknown_close(request_id: str, **fields: Any) -> ReconciliationItem:
    """The item of a close that nobody knows the outcome of, with these fields changed."""
    return item(kind=ReconciliationKind.CLOSE_UNKNOWN, reference=request_id, fault="CLOSE_UNKNOWN", field="", **fields)


def settled(**fields: Any) -> CloseSuccess:
    """A close that succeeded, with these fields changed."""
    return structs.replace(CloseSuccess(Outcome.CLOSED, ProviderAnswer("0", "Success", 200), NOW), **fields)


def failed(certainty: Certainty) -> CloseFailure:
    """An attempt that failed."""
    return CloseFailure("PROVIDER_FAILED", certainty, "the provider answered 503", NOW)


async def open_items(store: Store) -> Sequence[ReconciliationItem]:
    """What nobody has settled, oldest first."""
    return (await store.items(ItemFilter(), limit=1000)).entries


async def published_events(store: Store) -> tuple[Event, ...]:
    """Every event so far, in order.

    PostgreSQL gives an event its place only after its commit: once one more event has its place, all before it do.
    """
    mark = event(provider="mark", reference=uuid4().hex)
    content = posting(mark.reference, provider="mark", user_id="mark")
    credit = Applied(mark.reference, "EUR", Decimal(0), replayed=False)
    await store.record_outcome(content, credit, records(event=mark), NOW)
    await wait_published(store, mark.id)
    events = await store.events_after("", EventFilter(), 1_000_000)
    return tuple(each for each in events if each.provider != "mark")


async def wait_published(store: Store, event_id: str) -> None:
    """Wait until subscribers can see an event that is kept."""
    async with asyncio.timeout(60):
        while True:
            seen = await store.events_committed(-1)
            try:
                await store.events_after(event_id, EventFilter(), 1)
            except EventUnknown:
                await store.events_committed(seen)
            else:
                return
