"""The recent events: what streams that have caught up share, without a gap between it and the store."""

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


async def keep(store: Store, count: int) -> list[Event]:
    """Keep events of two users, one after another."""
    told = [event(EventType.SESSION_CLOSED, user_id=f"u{number % 2}") for number in range(count)]
    for each in told:
        await store.record_exchange(exchange(), item(reference=each.id), each)
    return told


async def follow(streams: EventStreams, after: str, wanted: EventFilter, seen: list[Event]) -> None:
    """A subscriber."""

    async def subscribed() -> None:
        pass

    async for each in streams.events(after, wanted, subscribed):
        seen.append(each)
        await asyncio.sleep(0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.integers(1, 12)),
        st.tuples(st.just("follow"), st.integers(0, 100)),
        st.tuples(st.just("let them read"), st.integers(0, 5)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, most=st.integers(2, 8), batch=st.integers(1, 5))
async def test_every_stream_sees_exactly_what_it_wants(steps: list[tuple[str, int]], most: int, batch: int) -> None:
    """Whenever streams begin, from wherever, and however much happens between two looks: each sees its events once."""
    kept: list[Event] = []
    expected: list[tuple[EventFilter, int, list[Event]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_events, "CACHE_SIZE", most)
        patch.setattr(event_stream, "BATCH", batch)
        patch.setattr(event_stream, "POLL_INTERVAL_S", 0.0)
        async with an_open_store() as store, asyncio.timeout(30):
            streams = EventStreams(store, Metrics())
            tasks: list[asyncio.Task[None]] = []
            for number, (step, value) in enumerate([*steps, ("follow", 0), ("keep", 1)]):
                if step == "keep":
                    kept += await keep(store, value)
                elif step == "follow":
                    start, wanted = value % (len(kept) + 1), EventFilter(user_id="u1" if number % 2 else "")
                    seen: list[Event] = []
                    expected.append((wanted, start, seen))
                    after = kept[start - 1].id if start else ""
                    tasks.append(asyncio.create_task(follow(streams, after, wanted, seen)))
                else:
                    for _ in range(value):
                        await asyncio.sleep(0)
            for wanted, start, seen in expected:
                due = [each for each in kept[start:] if wanted.wants(each)]
                while len(seen) < len(due):
                    await store.ping()
                assert seen == due
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_is_not_far_behind_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read serves all that stand among the recent events; who stands before them is told to read by himself."""
    monkeypatch.setattr(recent_events, "CACHE_SIZE", 4)
    async with an_open_store() as store:
        recent = RecentEvents(store)
        assert await recent.after("", 0) == []
        told = await keep(store, 3)
        assert await recent.after("", 1) == told
        monkeypatch.setattr(store, "events_after", None)
        assert await recent.after(told[0].id, 1) == told[1:]
        assert await recent.after(told[2].id, 1) == []
        assert await recent.after("unknown", 1) is None


async def test_what_is_old_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many as surely are, are held at the most; and where too much has happened, none of what was before."""
    monkeypatch.setattr(recent_events, "CACHE_SIZE", 4)
    async with an_open_store() as store:
        recent = RecentEvents(store)
        await recent.after("", 0)
        told: list[Event] = []
        for commits in range(1, 11):
            told += await keep(store, 3)
            assert await recent.after(told[-4].id if commits > 1 else "", commits) == told[-3:]
            assert len(recent._events) <= 8
            assert len(recent._positions) <= 9
        assert await recent.after(told[-8].id, 10) == recent._events == told[-7:]
        assert await recent.after(told[0].id, 10) is None
        far = await keep(store, 4)
        assert await recent.after(told[-1].id, 11) is None
        assert await recent.after(far[-1].id, 11) == []
        assert await recent.after(far[-1].id, 12) == []


async def test_another_database_in_its_place_is_noticed(tmp_path: Path) -> None:
    """Where the store does not know the newest of the recent events any more, they begin anew."""
    async with an_open_store() as store, an_open_store() as restored:
        (told,) = await keep(store, 1)
        recent = RecentEvents(store)
        assert await recent.after(told.id, 1) == []
        recent._store = restored
        (other,) = await keep(restored, 1)
        assert await recent.after(told.id, 2) is None
        assert await recent.after(other.id, 2) == []
