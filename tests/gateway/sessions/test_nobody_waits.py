"""Nothing is sent for whoever has left, nor so late that it would only be cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from gateway.outbound.admission import MIN_ATTEMPT_TIME_S
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, Told, family_table, running_gateway, told
from tests.support.provider import ScriptedProvider, answering, answering_after, scripted_provider
from tests.support.waiting import until

THRICE = "{ attempts = 3, backoff_s = 0.01 }"


@asynccontextmanager
async def scene(folder: Path, **more: str) -> AsyncIterator[tuple[Running, ScriptedProvider]]:
    """A gateway with one provider."""
    async with scripted_provider() as provider:
        section = family_table("lucky", "luckymonaco", provider.base_url, **more)
        async with running_gateway(folder, section) as gateway:
            yield gateway, provider


def close() -> pb.CloseSessionRequest:
    return pb.CloseSessionRequest(request_id=str(uuid4()), provider="lucky", user_id="u")


async def fails(gateway: Running, request: pb.CloseSessionRequest, timeout_s: float) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.sessions.CloseSession(request, timeout=timeout_s)
    return told(raised.value)


def held(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the records of failed attempts up: the first event tells that one is, the second lets them go on."""
    fail, recording, go_on = gateway.store.fail_close, asyncio.Event(), asyncio.Event()

    async def later(*args: Any) -> None:
        recording.set()
        await go_on.wait()
        await fail(*args)

    monkeypatch.setattr(gateway.store, "fail_close", later)
    return recording, go_on


async def test_nothing_is_tried_again_for_who_left_while_the_attempt_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another attempt was meant to be made as they hung up: it is not."""
    async with scene(tmp_path, retry=THRICE) as (gateway, provider):
        recording, go_on = held(gateway, monkeypatch)
        provider.behaviour = answering(503)
        request = close()
        leaver = gateway.sessions.CloseSession(request, timeout=20)
        await recording.wait()
        flight = gateway.gateway.close_service._flights[request.request_id]
        leaver.cancel()
        await until(lambda: not flight.has_waiters)
        go_on.set()
        await gateway.gateway.close_service.drain()
        assert len(provider.received) == 1


async def test_nothing_is_sent_once_the_last_ones_time_is_over(tmp_path: Path) -> None:
    """A request in the queue lives as long as one who waits for it: the time of another who hung up is not used up, and
    whoever was the last is told that nothing was sent.
    """
    async with scene(tmp_path, limits="{ max_concurrent_calls = 1, max_queued_calls = 1 }") as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        first = asyncio.ensure_future(gateway.sessions.CloseSession(close(), timeout=20))
        await provider.arrived.wait()
        closing, request = gateway.gateway.close_service, close()
        patient = gateway.sessions.CloseSession(request, timeout=20)
        await until(lambda: request.request_id in closing._flights)
        flight = closing._flights[request.request_id]
        hasty = asyncio.ensure_future(fails(gateway, request, 0.5))
        await until(lambda: flight._callers == 2)
        patient.cancel()
        assert (await hasty).certainty == "NOT_SENT"
        release.set()
        await first
        await closing.drain()
        assert len(provider.received) == 1


async def test_no_attempt_begins_late_because_the_store_was_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was certain is not made uncertain by an attempt that is cut off at once."""
    section = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", retry=THRICE)
    async with running_gateway(tmp_path, section) as gateway:
        recording, go_on = held(gateway, monkeypatch)
        request = close()
        calling = asyncio.ensure_future(fails(gateway, request, 60))
        await recording.wait()
        flight = gateway.gateway.close_service._flights[request.request_id]
        flight.deadline.cap(asyncio.get_running_loop().time() + MIN_ATTEMPT_TIME_S)
        go_on.set()
        assert (await calling).certainty == "NOT_SENT"
        await gateway.gateway.close_service.drain()
        assert len(await gateway.store.exchanges(request_id=request.request_id)) == 1
