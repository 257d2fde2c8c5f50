"""The cache of recent events, which streams that have caught up share, has no gap to the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rpc import event_stream, recent_events
from gateway.rpc.event_stream import EventStreams
from gateway.rpc.recent_events import RecentEvents
from gateway.store.base import Store
from gateway.store.factory import open_store
from gateway.store.models import Event, EventFilter, EventType
from gateway.telemetry.metrics import Metrics
from tests.gateway.store.samples import event, exchange, item

ALL = EventFilter()


@asynccontextmanager
async def an_open_store() -> AsyncIterator[Store]:
    """A store on an empty database."""
    with TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'gateway.db'}")
        await store.open()
        yield store
        await store.close()


async def store_events(store: Store, count: int) -> list[Event]:
    """Store events of two users, one after another."""
    stored = [event(EventType.SESSION_CLOSED, user_id=f"u{number % 2}") for number in range(count)]
    for each in stored:
        await store.record_exchange(exchange(), item(reference=each.id), each)
    return stored


async def follow(streams: EventStreams, after: str, wanted: EventFilter, seen: list[Event]) -> None:
    """A subscriber."""

    async def subscribed() -> None:
        pass

    async for each in streams.events(after, wanted, subscribed):
        seen.append(each)
        await asyncio.sleep(0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 12)),
        st.tuples(st.just("follow"), st.integers(0, 100)),
        st.tuples(st.just("let them read"), st.integers(0, 5)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, size=st.integers(2, 8), batch=st.integers(1, 5))
async def test_every_stream_gets_its_events_once(steps: list[tuple[str, int]], size: int, batch: int) -> None:
    """Each stream gets each of its events once, whenever and wherever it starts, and however many are new."""
    stored: list[Event] = []
    expected: list[tuple[EventFilter, int, list[Event]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_events, "CACHE_SIZE", size)
        patch.setattr(event_stream, "BATCH", batch)
        patch.setattr(event_stream, "POLL_INTERVAL_S", 0.0)
        async with an_open_store() as store, asyncio.timeout(30):
            streams = EventStreams(store, Metrics())
            tasks: list[asyncio.Task[None]] = []
            for number, (step, value) in enumerate([*steps, ("follow", 0), ("store", 1)]):
                if step == "store":
                    stored += await store_events(store, value)
                elif step == "follow":
                    start, wanted = value % (len(stored) + 1), EventFilter(user_id="u1" if number % 2 else "")
                    seen: list[Event] = []
                    expected.append((wanted, start, seen))
                    after = stored[start - 1].id if start else ""
                    tasks.append(asyncio.create_task(follow(streams, after, wanted, seen)))
                else:
                    for _ in range(value):
                        await asyncio.sleep(0)
            for wanted, start, seen in expected:
                due = [each for each in stored[start:] if wanted.wants(each)]
                while len(seen) < len(due):
                    await store.ping()
                assert seen == due
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_stream_within_the_cache_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read serves all streams within the cache; for one that is further behind it returns None."""
    monkeypatch.setattr(recent_events, "CACHE_SIZE", 4)
    async with an_open_store() as store:
        recent = RecentEvents(store)
        assert await recent.after("", 0) == []
        stored = await store_events(store, 3)
        assert await recent.after("", 1) == stored
        monkeypatch.setattr(store, "events_after", None)
        assert await recent.after(stored[0].id, 1) == stored[1:]
        assert await recent.after(stored[2].id, 1) == []
        assert await recent.after("unknown", 1) is None


async def test_old_events_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds at most twice its size, and nothing older where too many events are new."""
    monkeypatch.setattr(recent_events, "CACHE_SIZE", 4)
    async with an_open_store() as store:
        recent = RecentEvents(store)
        await recent.after("", 0)
        stored: list[Event] = []
        for commits in range(1, 11):
            stored += await store_events(store, 3)
            assert await recent.after(stored[-4].id if commits > 1 else "", commits) == stored[-3:]
            assert len(recent._events) <= 8
            assert len(recent._positions) <= 9
        assert await recent.after(stored[-8].id, 10) == recent._events == stored[-7:]
        assert await recent.after(stored[0].id, 10) is None
        far = await store_events(store, 4)
        assert await recent.after(stored[-1].id, 11) is None
        assert await recent.after(far[-1].id, 11) == []
        assert await recent.after(far[-1].id, 12) == []


async def test_a_replaced_database_empties_the_cache(tmp_path: Path) -> None:
    """Where the store does not know the newest cached event, the cache starts again."""
    async with an_open_store() as store, an_open_store() as restored:
        (event_,) = await store_events(store, 1)
        recent = RecentEvents(store)
        assert await recent.after(event_.id, 1) == []
        recent._store = restored
        (other,) = await store_events(restored, 1)
        assert await recent.after(event_.id, 2) is None
        assert await recent.after(other.id, 2) == []
