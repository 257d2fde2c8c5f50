"""WatchEvents: what is kept, then what happens, in order and without a gap."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, family_table, provider_table, running_gateway, told
from tests.support.provider import ScriptedProvider, answering, scripted_provider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def gateway(tmp_path: Path, provider: ScriptedProvider) -> AsyncIterator[Running]:
    sections = (
        family_table("lucky", "luckymonaco", provider.base_url),
        family_table("kyren", "kyren", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )
    async with running_gateway(tmp_path, *sections) as gateway:
        yield gateway


async def close(gateway: Running, provider: str = "lucky", user_id: str = "u") -> str:
    answer = await gateway.sessions.CloseSession(pb.CloseSessionRequest(provider=provider, user_id=user_id))
    return str(answer.request_id)


if TYPE_CHECKING:  # generic in the stubs only
    Subscription = grpc.aio.UnaryStreamCall[pb.WatchEventsRequest, pb.WatchEventsResponse]


async def following(call: "Subscription") -> pb.Event:
    """The stream's next event."""
    response = await call.read()
    assert isinstance(response, pb.WatchEventsResponse)
    return response.event


async def read(gateway: Running, count: int, **request: object) -> list[pb.Event]:
    """The first events of a stream."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(**request))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        events = [await following(call) for _ in range(count)]
    call.cancel()
    return events


async def test_a_subscriber_sees_the_kept_events_and_then_the_ones_that_happen(gateway: Running) -> None:
    """A stream begins with the oldest kept event and goes on with what happens, in order."""
    before = [await close(gateway) for _ in range(3)]
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await call.initial_metadata()
    after = [await close(gateway) for _ in range(3)]
    seen = [(await following(call)).request_id for _ in range(6)]
    assert seen == before + after
    call.cancel()


async def test_a_subscriber_resumes_without_a_gap(gateway: Running) -> None:
    """From behind any event, the rest follows, each once."""
    ids = [await close(gateway) for _ in range(5)]
    events = await read(gateway, 5)
    for position, event in enumerate(events[:-1]):
        rest = await read(gateway, 4 - position, after_event_id=event.id)
        assert [one.request_id for one in rest] == ids[position + 1 :]


async def test_filters_leave_out_the_others(gateway: Running) -> None:
    """A filter by user, provider or type leaves out the rest, also of what happens later."""
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
    assert (await following(call)).session_id == "s2"
    call.cancel()


async def test_an_event_that_is_not_kept_is_out_of_range(gateway: Running) -> None:
    """Resuming from an unknown id is OUT_OF_RANGE, never a silent start elsewhere."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(after_event_id="nowhere"), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert told(raised.value).reason == "EVENT_UNKNOWN"


async def test_a_type_that_does_not_exist_is_named(gateway: Running) -> None:
    """A filter by a type that is none is INVALID_ARGUMENT."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest(types=[99]), timeout=5)  # type: ignore[list-item]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert told(raised.value).fields == ("types",)


async def test_a_close_that_found_nothing_is_no_event(gateway: Running, provider: ScriptedProvider) -> None:
    """Only what really ended a session is told: NO_ACTIVE_SESSION is not."""
    provider.behaviour = answering(200, b'{"error":17}')
    await close(gateway)
    provider.behaviour = answering()
    request_id = await close(gateway)
    (event,) = await read(gateway, 1)
    assert event.request_id == request_id


async def test_stopping_ends_the_streams(gateway: Running) -> None:
    """When the gateway stops, a subscriber is told to watch again, at once."""
    call = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await call.initial_metadata()
    reading = asyncio.ensure_future(call.read())
    async with asyncio.timeout(5):
        await gateway.gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reading
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert told(raised.value).reason == "GATEWAY_STOPPING"
