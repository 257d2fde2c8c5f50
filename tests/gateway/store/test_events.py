"""Events: one order, none lost, none twice."""

import asyncio
from decimal import Decimal

import pytest

from gateway.store.base import EventUnknown, Store, StoreUnavailable
from gateway.store.models import Event, EventFilter, EventType
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, deliver, event, exchange, item, posting, published_events, wait_published

ALL = EventFilter()
EXPIRED = EventType.SESSION_EXPIRED
CLOSED = EventType.SESSION_CLOSED


async def add(store: Store, *events: Event) -> None:
    for each in events:
        await store.record_exchange(exchange(), item(reference=each.id), each)
    await wait_published(store, events[-1].id)


async def test_an_event_comes_back_as_it_was(store: Store) -> None:
    """Every part of an event is kept, its time to the microsecond."""
    whole = Event("event-x", CLOSED, NOW, "acme", "player \N{SNOWMAN}", "session-1", "request-1", "ref-1")
    await add(store, whole)
    assert await published_events(store) == (whole,)


async def test_a_subscriber_goes_on_where_it_was(store: Store) -> None:
    """Pages joined by the last id are all events, in order, without a gap or a repetition."""
    added = [event() for _ in range(10)]
    await add(store, *added)
    seen: list[Event] = []
    while page := await store.events_after(seen[-1].id if seen else "", ALL, 3):
        seen.extend(page)
    assert seen == added
    assert await store.newest_event_id() == added[-1].id


async def test_filters_narrow_and_keep_the_order(store: Store) -> None:
    """User, provider and types each narrow, together they all must fit, and an event that did not match is no gap."""
    first = event(EXPIRED, user_id="a", provider="acme")
    second = event(CLOSED, user_id="a", provider="bolt")
    third = event(EXPIRED, user_id="b", provider="acme")
    fourth = event(EXPIRED, user_id="a", provider="acme")
    await add(store, first, second, third, fourth)

    async def wanted(after: str = "", **parts: object) -> tuple[Event, ...]:
        return tuple(await store.events_after(after, EventFilter(**parts), 10))  # type: ignore[arg-type]

    assert await wanted(user_id="a") == (first, second, fourth)
    assert await wanted(provider="acme") == (first, third, fourth)
    assert await wanted(types=frozenset({CLOSED})) == (second,)
    assert await wanted(types=frozenset({CLOSED, EXPIRED})) == (first, second, third, fourth)
    assert await wanted(user_id="a", provider="acme", types=frozenset({EXPIRED})) == (first, fourth)
    assert await wanted(second.id, user_id="a") == (fourth,)
    assert await wanted(user_id="nobody") == ()


async def test_an_unknown_id_is_said_to_be_unknown(store: Store) -> None:
    """A subscriber that comes back with an id that is not kept learns it, and does not silently miss events."""
    await add(store, event())
    with pytest.raises(EventUnknown):
        await store.events_after("no-such-event", ALL, 10)


async def test_no_events_at_first(store: Store) -> None:
    """An empty database has no newest event, and nothing after the beginning."""
    assert await store.newest_event_id() == ""
    assert await published_events(store) == ()


@pytest.mark.parametrize("part", ["provider", "provider_id", "session_id", "user_id"])
async def test_an_expiry_is_one_event(store: Store, part: str) -> None:
    """The same expiry again keeps a journal line only; any other of its four parts makes another expiry."""
    identity = {"provider": "acme", "provider_id": "p", "session_id": "s", "user_id": "u"}

    async def expire(provider: str, provider_id: str, session_id: str, user_id: str) -> bool:
        expired = event(EXPIRED, provider=provider, session_id=session_id, user_id=user_id)
        return await store.record_expiry(expired, provider_id, exchange())

    assert await expire(**identity)
    assert not await expire(**identity)
    assert await expire(**(identity | {part: "other"}))
    assert len(await published_events(store)) == 2
    assert len(await store.exchanges()) == 3


async def test_commits_wake_subscribers(store: Store) -> None:
    """Who waits is woken by a commit that adds events, and can read them when it is."""
    seen = await store.events_committed(-1)
    waiting = [asyncio.create_task(store.events_committed(seen)) for _ in range(3)]
    await store.open_account("player-1", "EUR", Decimal(0), NOW)
    await store.ping()
    assert not any(task.done() for task in waiting)
    await deliver(store, posting())
    async with asyncio.timeout(60):
        counts = await asyncio.gather(*waiting)
    assert set(counts) == {seen + 1}
    assert len(await store.events_after("", ALL, 10)) == 1
    assert await store.events_committed(seen) == seen + 1


async def test_a_replay_wakes_no_subscriber(store: Store) -> None:
    """A commit that adds no event is not counted."""
    await store.open_account("player-1", "EUR", Decimal(0), NOW)
    await deliver(store, posting())
    await published_events(store)
    seen = await store.events_committed(-1)
    for _ in range(2):
        await deliver(store, posting())
        await store.ping()
    assert await store.events_committed(-1) == seen


async def test_a_subscriber_misses_nothing_in_a_storm(store: Store) -> None:
    """A subscriber that follows while many write at once sees every event once, in order."""
    total = 200
    seen: list[Event] = []

    async def follow() -> None:
        commits = -1
        while len(seen) < total:
            commits = await store.events_committed(commits)
            while page := await store.events_after(seen[-1].id if seen else "", ALL, 7):
                seen.extend(page)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for _ in range(total):
            group.create_task(add(store, event()))
    assert len({each.id for each in seen}) == total
    assert tuple(seen) == tuple(await store.events_after("", ALL, total + 1))


async def test_events_are_kept_over_a_restart(database: Database) -> None:
    """A subscriber that remembers an id goes on after the gateway was restarted."""
    first, second = event(), event()
    store = database()
    await store.open()
    await add(store, first)
    await store.close()
    store = database()
    await store.open()
    await add(store, second)
    assert await store.events_after(first.id, ALL, 10) == (second,)
    await store.close()


async def test_closing_ends_the_wait(database: Database) -> None:
    """A waiter for events gets StoreUnavailable when the store closes."""
    store = database()
    await store.open()
    waiting = asyncio.create_task(store.events_committed(0))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(60):
            await waiting
