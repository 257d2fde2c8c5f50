"""WatchEvents: the stored events, then the new ones, in order and without a gap."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import grpc
import pytest

from gateway.rpc import event_stream, recent_events
from gateway.store.base import Store
from gateway.store.models import Event, EventBatch, EventFilter
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.rpc.harness import settled
from tests.gateway.store import samples
from tests.support.gateway import RpcFailure, Running, failure_of, family_table, provider_table, running_gateway
from tests.support.provider import ScriptedProvider, answering, scripted_provider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.db'}"
    return str(request.getfixturevalue("postgres_url"))


@asynccontextmanager
async def serving(folder: Path, url: str, provider: ScriptedProvider) -> AsyncIterator[Running]:
    """A gateway with providers of each dialect, for all of which this provider answers."""
    sections = (
        family_table("lucky", "luckymonaco", provider.base_url),
        family_table("kyren", "kyren", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )
    async with running_gateway(folder, *sections, store=url) as gateway:
        yield gateway


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str, provider: ScriptedProvider) -> AsyncIterator[Running]:
    async with serving(tmp_path, store_url, provider) as gateway:
        yield gateway


async def close(gateway: Running, provider: str = "lucky", user_id: str = "u") -> str:
    """Close a player's sessions. Returns the request_id."""
    answer = await gateway.sessions.CloseSession(pb.CloseSessionRequest(provider=provider, user_id=user_id))
    return str(answer.request_id)


if TYPE_CHECKING:  # generic in the stubs only
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub

    Subscription = grpc.aio.UnaryStreamCall[pb.WatchEventsRequest, pb.WatchEventsResponse]


async def next_event(call: "Subscription") -> pb.Event:
    """The stream's next event."""
    response = await call.read()
    assert isinstance(response, pb.WatchEventsResponse)
    return response.event


async def read(gateway: Running, count: int, **request: object) -> list[pb.Event]:
    """Read the first `count` events of a stream, and cancel it."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(**request))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        events = [await next_event(call) for _ in range(count)]
    call.cancel()
    return events


async def test_a_stream_sends_stored_events_and_then_new_ones(gateway: Running) -> None:
    """It begins with the oldest stored event and continues with new ones, in order."""
    stored = [await close(gateway) for _ in range(3)]
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await call.initial_metadata()
    new = [await close(gateway) for _ in range(3)]
    seen = [(await next_event(call)).request_id for _ in range(6)]
    assert seen == stored + new
    call.cancel()


async def test_a_stream_resumes_without_a_gap(gateway: Running) -> None:
    """A stream after any event sends the later ones, each once."""
    ids = [await close(gateway) for _ in range(5)]
    events = await read(gateway, 5)
    for position, event in enumerate(events[:-1]):
        rest = await read(gateway, 4 - position, after_event_id=event.id)
        assert [one.request_id for one in rest] == ids[position + 1 :]


async def test_a_filter_selects_events(gateway: Running) -> None:
    """A filter by user, provider or type applies to stored events and to new ones."""
    await close(gateway, "lucky", "a")
    await close(gateway, "kyren", "b")
    expired = b'{"providerId":"p","sessionId":"s1","userId":"b"}'
    await gateway.callback("lucky", "V4/SessionExpired", expired)
    assert [event.user_id for event in await read(gateway, 1, user_id="b")] == ["b"]
    assert [event.provider for event in await read(gateway, 1, provider="kyren")] == ["kyren"]
    wanted = [pb.EVENT_TYPE_SESSION_EXPIRED]
    (event,) = await read(gateway, 1, types=wanted)
    assert (event.type, event.session_id, event.provider) == (pb.EVENT_TYPE_SESSION_EXPIRED, "s1", "lucky")
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(after_event_id=event.id, types=wanted))
    await call.initial_metadata()
    await close(gateway)
    await gateway.callback("lucky", "V4/SessionExpired", expired.replace(b"s1", b"s2"))
    assert (await next_event(call)).session_id == "s2"
    call.cancel()


async def test_resuming_after_an_unknown_event_is_out_of_range(gateway: Running) -> None:
    """The reason is EVENT_UNKNOWN."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(after_event_id="nowhere"), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert failure_of(raised.value).reason == "EVENT_UNKNOWN"


async def test_a_filter_by_an_unknown_type_is_rejected(gateway: Running) -> None:
    """The failure names the field `types`."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(types=[99]), timeout=30)  # type: ignore[list-item]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert failure_of(raised.value).fields == ("types",)


async def test_a_close_without_an_active_session_is_no_event(gateway: Running, provider: ScriptedProvider) -> None:
    """Only a close that ended a session is an event."""
    provider.behaviour = answering(200, b'{"error":17}')
    await close(gateway)
    provider.behaviour = answering()
    request_id = await close(gateway)
    (event,) = await read(gateway, 1)
    assert event.request_id == request_id


@pytest.mark.usefixtures("long_stop_grace")
async def test_a_stop_ends_a_stream_at_rest(gateway: Running) -> None:
    """A stream that waits for new events ends with GATEWAY_STOPPING."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await call.initial_metadata()
    reading = asyncio.ensure_future(call.read())
    async with asyncio.timeout(30):
        await gateway.gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reading
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert failure_of(raised.value).reason == "GATEWAY_STOPPING"


# --- Slow subscribers, many subscribers, and a store that is unavailable ----------------------------------------------

MANY = 50_000

FIXED_WINDOW = (("grpc.http2.bdp_probe", 0),)
"""Without it a client's flow-control window grows to megabytes, which the client buffers before they are read."""


async def fill(url: str, count: int = MANY) -> list[str]:
    """Store `count` events. Returns their ids in order."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            file.executemany(
                "INSERT INTO events (id, type, time, provider, user_id, session_id, request_id, reference) "
                "VALUES (?, 'SESSION_CLOSED', '2026-11-21T12:30:00.000000+00:00', 'lucky', 'u', '', ?, '')",
                [(f"event-{number}", f"request-{number}") for number in range(count)],
            )
    else:
        db = await asyncpg.connect(url)
        await db.execute(f"""
            INSERT INTO events (position, id, type, time, provider, user_id, session_id, request_id, reference)
            SELECT number + 1, 'event-' || number, 'SESSION_CLOSED', now(), 'lucky', 'u', '', 'request-' || number, ''
            FROM generate_series(0, {count - 1}) AS number
        """)  # noqa: S608 - a number
        await db.close()
    return [f"event-{number}" for number in range(count)]


class Reads:
    """Counts reads of events from a store, and the events read."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self.events = 0
        next_events, events_after = store.next_events, store.events_after

        async def counted_batch(after: str, wanted: EventFilter, limit: int) -> EventBatch:
            batch = await next_events(after, wanted, limit)
            self._count(batch.events)
            return batch

        async def counted(after: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
            events = await events_after(after, wanted, limit)
            self._count(events)
            return events

        monkeypatch.setattr(store, "next_events", counted_batch)
        monkeypatch.setattr(store, "events_after", counted)

    def _count(self, events: Sequence[Event]) -> None:
        self.times += 1
        self.events += len(events)

    async def at_rest(self) -> int:
        """Wait until no more events are read. Returns how many were read."""
        return await settled(lambda: self.events)


async def test_a_subscriber_that_does_not_read_is_not_read_ahead_for(
    gateway: Running, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway reads no more than the client buffers, and all events once the client reads."""
    ids = await fill(store_url)
    reads = Reads(gateway.store, monkeypatch)
    async with grpc.aio.insecure_channel(gateway.listening.grpc, options=FIXED_WINDOW) as channel:
        stub: SessionServiceAsyncStub = SessionServiceStub(channel)
        calls = [stub.WatchEvents(pb.WatchEventsRequest()) for _ in range(3)]
        for call in calls:
            await call.initial_metadata()
        ahead = await reads.at_rest()
        assert 0 < ahead <= len(calls) * MANY // 15
        assert [(await next_event(calls[0])).id for _ in range(3000)] == ids[:3000]
        for call in calls:
            call.cancel()


@pytest.mark.usefixtures("long_stop_grace")
async def test_a_stop_ends_a_stream_that_sends(gateway: Running, store_url: str) -> None:
    """A stream with events left to send ends with GATEWAY_STOPPING, without a gap before."""
    ids = await fill(store_url)
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    seen = [(await next_event(call)).id]
    reading = asyncio.ensure_future(ended(call, seen))
    async with asyncio.timeout(60):
        await gateway.gateway.stop()
        assert (await reading).reason == "GATEWAY_STOPPING"
    assert seen == ids[: len(seen)]
    assert len(seen) < len(ids)


async def test_a_slow_subscriber_misses_no_new_event(
    tmp_path: Path, store_url: str, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New events that arrive faster than a client reads are not held in memory for it, and it misses none."""
    monkeypatch.setattr(recent_events, "CACHE_SIZE", 20)
    async with serving(tmp_path, store_url, provider) as gateway:
        slow = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
        await slow.initial_metadata()
        quick = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
        closed: list[str] = []
        for _ in range(10):
            closed += await asyncio.gather(*(close(gateway) for _ in range(10)))
            for _ in range(10):
                await next_event(quick)
        held = gateway.gateway.event_streams._recent
        assert len(held._events) <= 2 * recent_events.CACHE_SIZE
        assert len(held._positions) <= 2 * recent_events.CACHE_SIZE + 1
        assert sorted([(await next_event(slow)).request_id for _ in closed]) == sorted(closed)
        slow.cancel()
        quick.cancel()


async def test_streams_at_rest_do_not_read_the_store(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty streams that have caught up read nothing, and one read of a new event serves all of them."""
    await close(gateway)
    unwanted = [gateway.sessions.WatchEvents(pb.WatchEventsRequest(user_id="nobody")) for _ in range(25)]
    wanted = [gateway.sessions.WatchEvents(pb.WatchEventsRequest(user_id="u")) for _ in range(25)]
    for call in unwanted:
        await call.initial_metadata()
    for call in wanted:
        await next_event(call)
    reads = Reads(gateway.store, monkeypatch)
    await reads.at_rest()
    assert reads.times == 0
    for round_ in range(1, 4):
        request_id = await close(gateway)
        for call in wanted:
            assert (await next_event(call)).request_id == request_id
        assert await reads.at_rest() == round_
        assert reads.times == round_
    for call in (*unwanted, *wanted):
        call.cancel()


async def test_under_load_many_events_are_read_at_once(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream reads no more often than its interval allows, at any rate of commits."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await call.initial_metadata()
    reads = Reads(gateway.store, monkeypatch)
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        event = samples.event()
        await gateway.store.record_exchange(samples.exchange(), samples.item(reference=event.id), event)
    assert reads.times <= (asyncio.get_running_loop().time() - began) / event_stream.POLL_INTERVAL_S + 2
    for _ in range(100):
        await next_event(call)
    call.cancel()


async def test_a_stream_ends_when_the_database_is_unavailable(
    tmp_path: Path, provider: ScriptedProvider, postgres_url: str
) -> None:
    """A stream that reads the store is STORE_UNAVAILABLE and resumes without a gap; a stream at rest continues."""
    async with (
        serving(tmp_path, postgres_url, provider) as gateway,
        grpc.aio.insecure_channel(gateway.listening.grpc, options=FIXED_WINDOW) as channel,
        asyncio.timeout(120),
    ):
        ids = await fill(postgres_url, 10_000)
        resting = gateway.sessions.WatchEvents(pb.WatchEventsRequest(after_event_id=ids[-1]))
        await resting.initial_metadata()
        # The channel buffers a few of the events, so that the gateway must read others from the database.
        stub: SessionServiceAsyncStub = SessionServiceStub(channel)
        reading = stub.WatchEvents(pb.WatchEventsRequest())
        seen = [(await next_event(reading)).id]
        async with unavailable(postgres_url):
            failure = await ended(reading, seen)
        assert failure.reason == "STORE_UNAVAILABLE"
        assert "after the last event" in failure.message
        assert len(seen) < len(ids)
        seen += [one.id for one in await read(gateway, len(ids) - len(seen), after_event_id=seen[-1])]
        assert seen == ids
        request_id = await close(gateway)
        assert (await next_event(resting)).request_id == request_id
        resting.cancel()


async def ended(call: "Subscription", seen: list[str]) -> RpcFailure:
    """Read until the stream fails. Returns the failure."""
    try:
        while True:
            seen.append((await next_event(call)).id)
    except grpc.aio.AioRpcError as error:
        return failure_of(error)


@asynccontextmanager
async def unavailable(url: str) -> AsyncIterator[None]:
    """End all connections to a database, and reject new ones."""
    name = urlsplit(url).path.removeprefix("/")
    db = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    await db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await db.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        await db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await db.close()
