"""Calls to a provider that is switched off, and how a provider's circuit and queue are shown, at both gRPC servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from gateway.config import GrpcServerKind
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.rpc.harness import Scene
from tests.gateway.rpc.switching import health_of, is_serving, switch_off, switch_on
from tests.support.gateway import family_table, running_gateway, told
from tests.support.provider import answering, answering_after, hanging, scripted_provider
from tests.support.waiting import until

NARROW = {
    "limits": "{ max_concurrent_calls = 2, max_queued_calls = 1 }",
    "breaker": "{ min_requests = 50, open_s = 0.5 }",
}
"""Two calls at a time, one that waits, and a circuit that is not open for long."""


@asynccontextmanager
async def bounded(folder: Path, server: GrpcServerKind = GrpcServerKind.GRPCIO, **more: str) -> AsyncIterator[Scene]:
    """A scene with one provider, bounded as told."""
    async with scripted_provider() as provider:
        table = family_table("lucky", "luckymonaco", provider.base_url, **more)
        async with running_gateway(folder, table, grpc=f'server = "{server}"') as gateway:
            yield Scene(gateway, provider)


@pytest.fixture(params=list(GrpcServerKind))
async def narrow(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A scene with one narrow provider."""
    async with bounded(tmp_path, request.param, **NARROW) as scene:
        yield scene


def close(scene: Scene, provider: str = "lucky", request_id: str = "") -> Awaitable[pb.CloseSessionResponse]:
    """End a player's sessions."""
    request = pb.CloseSessionRequest(provider=provider, user_id="tester", request_id=request_id or str(uuid4()))
    return scene.gateway.sessions.CloseSession(request, timeout=5)


async def test_nothing_is_otlp_exporter_a_provider_that_is_switched_off(scene: Scene) -> None:
    """Callers are told who, why and what to do, as NOT_SENT; others are asked on, and it is once it is on again."""
    request_id = str(uuid4())
    await switch_off(scene.gateway, why="wrong invoices")
    failure = await scene.fails(request_id=request_id)
    assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROVIDER_DISABLED",
        "NOT_SENT",
        False,
    )
    for words in ("ada", "wrong invoices", "session-gateway provider enable lucky", "nothing was sent"):
        assert words in failure.message
    assert (failure.metadata["actor"], failure.metadata["why"]) == ("ada", "wrong invoices")
    assert failure.metadata["provider"] == "lucky"
    assert not scene.provider.received
    assert (await close(scene, "kyren")).outcome == pb.OUTCOME_CLOSED
    assert (await health_of(scene.gateway)).state == pb.HEALTH_STATE_UNTRIED
    await switch_on(scene.gateway)
    answer = await close(scene, request_id=request_id)
    assert (answer.outcome, answer.replayed) == (pb.OUTCOME_CLOSED, False)


async def test_what_was_closed_is_answered_again(scene: Scene) -> None:
    """A success that is kept needs no provider."""
    request_id = str(uuid4())
    await close(scene, request_id=request_id)
    await switch_off(scene.gateway)
    assert (await close(scene, request_id=request_id)).replayed
    assert len(scene.provider.received) == 1


async def test_calls_under_way_finish(scene: Scene) -> None:
    """What was sent before the switch is waited for, and told as it ends."""
    release = asyncio.Event()
    scene.provider.behaviour = answering_after(release)
    under_way = asyncio.ensure_future(close(scene))
    await scene.provider.arrived.wait()
    await switch_off(scene.gateway)
    release.set()
    assert (await under_way).outcome == pb.OUTCOME_CLOSED


async def test_a_failure_is_not_tried_again_once_it_is_off(tmp_path: Path) -> None:
    """What a second attempt might have mended is told as it was."""
    async with bounded(tmp_path, retry="{ attempts = 3 }") as scene:
        release = asyncio.Event()

        async def failing(_: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response(status=503)

        scene.provider.behaviour = failing
        under_way = asyncio.ensure_future(close(scene))
        await scene.provider.arrived.wait()
        await switch_off(scene.gateway)
        release.set()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await under_way
        assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_FAILED", "UNKNOWN")
        assert len(scene.provider.received) == 1


async def test_who_waited_for_a_turn_is_not_sent(narrow: Scene) -> None:
    """A call whose turn comes after the switch is refused as any other, and its place is free for the next."""

    async def waits(under_way: int, waiting: int) -> None:
        async def shown() -> bool:
            health = await health_of(narrow.gateway)
            return (health.in_flight_calls, health.queued_calls) == (under_way, waiting)

        await until(shown)

    release = asyncio.Event()
    narrow.provider.behaviour = answering_after(release)
    under_way = [asyncio.ensure_future(close(narrow)) for _ in range(2)]
    await waits(2, 0)
    waiting = asyncio.ensure_future(close(narrow))
    await waits(2, 1)
    await switch_off(narrow.gateway)
    release.set()
    assert [answer.outcome for answer in await asyncio.gather(*under_way)] == [pb.OUTCOME_CLOSED] * 2
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await waiting
    assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_DISABLED", "NOT_SENT")
    assert len(narrow.provider.received) == 2
    await waits(0, 0)
    await switch_on(narrow.gateway)
    assert (await close(narrow)).outcome == pb.OUTCOME_CLOSED


async def test_a_circuit_is_shown_and_bears_on_health(narrow: Scene) -> None:
    """CLOSED, OPEN, HALF_OPEN and CLOSED again in ListProviders; the health name is serving only while it is closed,
    whatever a call comes to that was sent before it opened.
    """
    assert (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_CLOSED
    release = asyncio.Event()
    narrow.provider.behaviour = answering_after(release)
    under_way = asyncio.ensure_future(close(narrow))
    await narrow.provider.arrived.wait()
    narrow.provider.behaviour = answering(500)
    for _ in range(50):
        assert (await narrow.fails()).reason == "PROVIDER_FAILED"
    assert (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_OPEN
    release.set()
    await under_way
    assert (await health_of(narrow.gateway)).state == pb.HEALTH_STATE_ANSWERING
    assert not await is_serving(narrow.gateway)

    async def is_half_open() -> bool:
        return (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_HALF_OPEN

    await until(is_half_open)
    assert not await is_serving(narrow.gateway)
    narrow.provider.behaviour = answering()
    assert (await close(narrow)).outcome == pb.OUTCOME_CLOSED
    assert (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_CLOSED
    assert await is_serving(narrow.gateway)


async def test_nothing_is_sent_where_it_was_switched_off_while_the_store_took_the_intent(tmp_path: Path) -> None:
    """Once the switch is answered no request leaves, and the intent stands for an attempt that was not made."""
    async with bounded(tmp_path) as scene:
        store, intended, go_on = scene.gateway.store, asyncio.Event(), asyncio.Event()
        begin, request_id = store.begin_close, str(uuid4())

        async def slowly(*args: Any) -> Any:
            record = await begin(*args)
            intended.set()
            await go_on.wait()
            return record

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "begin_close", slowly)
            calling = asyncio.ensure_future(scene.fails(request_id=request_id))
            await intended.wait()
            await switch_off(scene.gateway)
            go_on.set()
            failure = await calling
        assert (failure.reason, failure.certainty) == ("PROVIDER_DISABLED", "NOT_SENT")
        assert not scene.provider.received
        await scene.gateway.gateway.close_service.drain()
        record = await store.find_close(request_id)
        assert record is not None
        assert (record.attempts, record.certainty) == (1, "NOT_SENT")


async def test_a_hasty_caller_does_not_take_a_provider_out_of_service(tmp_path: Path) -> None:
    """Who leaves it no time to answer says nothing of its health, as of its circuit."""
    async with bounded(tmp_path) as scene:
        await close(scene)
        scene.provider.behaviour = hanging
        with pytest.raises(grpc.aio.AioRpcError):
            await scene.gateway.sessions.CloseSession(
                pb.CloseSessionRequest(provider="lucky", user_id="tester"), timeout=0.15
            )
        await scene.gateway.gateway.close_service.drain()
        assert await is_serving(scene.gateway)
        assert (await health_of(scene.gateway)).state == pb.HEALTH_STATE_ANSWERING


@pytest.mark.parametrize("letter", ["x", "я", "退", "😀"])
async def test_a_long_reason_does_not_hide_what_happened(scene: Scene, letter: str) -> None:
    """In whatever script it is written, the status with its details is small enough for a client to take."""
    await switch_off(scene.gateway, by=letter * 255, why=letter * 1000)
    failure = await scene.fails()
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_DISABLED")
    assert failure.certainty == "NOT_SENT"
