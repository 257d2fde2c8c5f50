"""Subscribers over real stores: every event once, in one order, none missing, from wherever they go on."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.base import Store, StoreUnavailable
from gateway.store.factory import open_store
from gateway.store.models import Event, EventFilter, EventType
from gateway.store.postgres import events as postgres_events
from gateway.store.sqlite import events as sqlite_events
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import event, exchange, item, wait_published
from tests.support.waiting import until

ALL = EventFilter()

TYPES = tuple(EventType)


async def add_events(store: Store, *added: Event) -> None:
    """Add events, each in a separate transaction."""
    await asyncio.gather(*(store.record_exchange(exchange(), item(reference=each.id), each) for each in added))


@dataclass
class Subscriber:
    """Follows the events of one store after another, from behind the last one that it has seen."""

    wanted: EventFilter = ALL
    seen: list[str] = field(default_factory=list)
    last_id: str = ""

    async def follow(self, store: Store) -> None:
        """Read on until the store is closed."""
        commits = -1
        while True:
            commits = await store.events_committed(commits)
            more = True
            while more:
                batch = await store.next_events(self.last_id, self.wanted, 7)
                self.seen.extend(each.id for each in batch.events)
                self.last_id, more = batch.last_id, batch.more

    async def follow_whatever_happens(self, stores: Sequence[Store]) -> None:
        """Go on at the next store where one fails."""
        for store in cycle(stores):
            try:
                await self.follow(store)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def write(store: Store, acknowledged: list[str], count: int) -> None:
    """Write events, whatever happens to the store; those that were acknowledged are listed."""
    while len(acknowledged) < count:
        added = event()
        try:
            await add_events(store, added)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            acknowledged.append(added.id)


@asynccontextmanager
async def following(subscribers: Sequence[Subscriber], stores: Sequence[Store]) -> AsyncIterator[None]:
    """Subscribers that follow, each beginning at another store. What one of them cannot bear ends the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(each.follow_whatever_happens([*stores[number % len(stores) :], *stores]))
            for number, each in enumerate(subscribers)
        ]
        yield
        for task in tasks:
            task.cancel()


async def all_have_seen(subscribers: Sequence[Subscriber], store: Store, acknowledged: Sequence[Sequence[str]]) -> None:
    """Wait until all have seen everything: the same to all, each event once, none missing that was acknowledged."""
    mark = event(provider="mark")  # behind all that is kept already
    await add_events(store, mark)
    await until(lambda: all(mark.id in each.seen for each in subscribers))
    in_order = [each.id for each in await store.events_after("", ALL, 1_000_000)]
    assert all(each.seen == in_order for each in subscribers)
    assert len(set(in_order)) == len(in_order)
    assert {one for part in acknowledged for one in part} <= set(in_order)


# --- Together ---------------------------------------------------------------------------------------------------------


async def test_all_see_the_same(store: Store) -> None:
    """Four subscribers on one store, and writers at the same time: all events come once, in one order, to each."""
    subscribers = [Subscriber() for _ in range(4)]
    acknowledged: list[list[str]] = [[] for _ in range(8)]
    async with following(subscribers, [store]):
        await asyncio.gather(*(write(store, mine, 25) for mine in acknowledged))
        await all_have_seen(subscribers, store, acknowledged)


async def test_all_see_the_same_over_restarts(database: Database) -> None:
    """The same where the store is closed and opened again, and its subscribers go on from where they were."""
    subscribers = [Subscriber() for _ in range(4)]
    acknowledged: list[str] = []
    for round_ in range(3):
        store = database()
        await store.open()
        tasks = [asyncio.create_task(each.follow(store)) for each in subscribers]
        mine: list[str] = []
        await write(store, mine, 20)
        acknowledged += mine
        if round_ == 2:
            await all_have_seen(subscribers, store, [acknowledged])
        await store.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, StoreUnavailable) for end in ends)


async def test_all_see_the_same_though_connections_are_cut(postgres_url: str) -> None:
    """Three gateways on one database, writers and subscribers on each, and all connections cut again and again."""
    async with gateways(postgres_url, 3) as stores:
        subscribers = [Subscriber() for _ in range(4)]
        acknowledged: list[list[str]] = [[] for _ in range(6)]
        async with following(subscribers, stores):
            writing = asyncio.gather(
                *(write(store, mine, 60) for store, mine in zip(islice(cycle(stores), 6), acknowledged, strict=True))
            )
            for enough in (5, 15, 30, 45):
                await until(lambda: min(len(mine) for mine in acknowledged) >= enough)  # noqa: B023 - waited for here
                await cut_all(postgres_url)
            await writing
            await all_have_seen(subscribers, stores[0], acknowledged)


async def test_all_see_the_same_though_a_gateway_is_killed(postgres_url: str) -> None:
    """Of a gateway that is killed while it writes, all subscribers get what it had acknowledged."""
    async with gateways(postgres_url, 2) as stores:
        subscribers = [Subscriber() for _ in range(4)]
        acknowledged: list[list[str]] = [[] for _ in range(2)]
        async with following(subscribers, stores):
            writing = asyncio.gather(
                *(write(store, mine, 100) for store, mine in zip(stores, acknowledged, strict=True))
            )
            theirs = [await killed_after(postgres_url, 10) for _ in range(2)]
            await writing
            await all_have_seen(subscribers, stores[0], [*acknowledged, *theirs])


@asynccontextmanager
async def gateways(url: str, count: int) -> AsyncIterator[list[Store]]:
    """Open stores on one database."""
    async with AsyncExitStack() as stack:
        stores = [open_store(url) for _ in range(count)]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        yield stores


async def cut_all(url: str) -> None:
    """End every connection but this one."""
    db = await asyncpg.connect(url)
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await db.close()


async def killed_after(url: str, count: int) -> list[str]:
    """A process that writes, killed once it has printed that many events; their ids."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            printed = [(await process.stdout.readline()).decode().strip() for _ in range(count)]
        os.kill(process.pid, signal.SIGKILL)
        rest = await process.stdout.read()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert all(printed)
    return printed + [line for line in rest.decode().split("\n")[:-1] if line]


async def _write_for_ever(url: str) -> None:
    async with gateways(url, 1) as [store]:
        while True:
            added = [event() for _ in range(5)]
            await add_events(store, *added)
            sys.stdout.write("".join(f"{each.id}\n" for each in added))
            sys.stdout.flush()


# --- Going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def kept(store: Store) -> list[Event]:
    """Sixty events of all kinds, in their order."""
    added = [
        event(TYPES[number % len(TYPES)], provider=f"p{number % 3}", user_id=f"u{number % 5}", id=f"{number}-{uuid4()}")
        for number in range(60)
    ]
    for each in added:
        await add_events(store, each)
    await wait_published(store, added[-1].id)
    return added


FILTERS = st.builds(
    EventFilter,
    user_id=st.sampled_from(["", "u0", "u4", "nobody"]),
    provider=st.sampled_from(["", "p0", "p2", "none"]),
    types=st.frozensets(st.sampled_from(TYPES)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(-1, 59), wanted=FILTERS, limit=st.integers(1, 61), looked_at=st.integers(1, 70))
async def test_from_any_event_exactly_the_rest_follows(
    store: Store, kept: list[Event], start: int, wanted: EventFilter, limit: int, looked_at: int
) -> None:
    """From behind any event, or from the oldest, come all later ones that are wanted, in order, and then it is said."""
    rest = kept[start + 1 :]
    last_id = kept[start].id if start >= 0 else ""
    expected = [each for each in rest if wanted.wants(each)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_events, "MAX_SCANNED", looked_at)
        patch.setattr(postgres_events, "MAX_SCANNED", looked_at)
        seen: list[Event] = []
        for _ in range(len(rest) + 2):
            batch = await store.next_events(last_id, wanted, limit)
            assert len(batch.events) <= limit
            assert batch.last_id != last_id or not batch.more
            seen.extend(batch.events)
            last_id = batch.last_id
            if not batch.more:
                break
    assert seen == expected
    assert not batch.more
    assert wanted.wants(kept[-1]) <= (last_id == kept[-1].id)
    assert await store.events_after(kept[start].id if start >= 0 else "", wanted, 100) == tuple(expected)


async def test_a_batch_looks_at_a_bounded_part(
    store: Store, kept: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rare the wanted events are, one batch passes over no more than its part, and says where to go on."""
    monkeypatch.setattr(sqlite_events, "MAX_SCANNED", 20)
    monkeypatch.setattr(postgres_events, "MAX_SCANNED", 20)
    none = EventFilter(provider="none")
    places = []
    batch = await store.next_events("", none, 10)
    while batch.more:
        places.append(batch.last_id)
        batch = await store.next_events(batch.last_id, none, 10)
    assert places == [kept[19].id, kept[39].id, kept[59].id]
    assert (batch.events, batch.last_id) == ((), kept[59].id)


async def test_an_empty_store_has_nothing_to_go_on_from(store: Store) -> None:
    """Where nothing is kept, a subscriber goes on from the beginning."""
    batch = await store.next_events("", EventFilter(provider="p0"), 10)
    assert (batch.events, batch.last_id, batch.more) == ((), "", False)


if __name__ == "__main__":
    asyncio.run(_write_for_ever(sys.argv[1]))
