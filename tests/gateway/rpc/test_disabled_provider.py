"""Calls to a disabled provider, and how gRPC reports a provider's circuit and queue, on both gRPC servers."""

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
from tests.gateway.rpc.harness import RpcHarness
from tests.gateway.rpc.switching import health_of, is_serving, switch_off, switch_on
from tests.support.gateway import failure_of, family_table, running_gateway
from tests.support.provider import answering, answering_after, hanging, scripted_provider
from tests.support.waiting import until

NARROW = {
    "limits": "{ max_concurrent_calls = 2, max_queued_calls = 1 }",
    "breaker": "{ min_requests = 50, open_s = 2 }",
}
"""Two calls in flight, one queued, and a circuit that is open for 2 s."""


@asynccontextmanager
async def bounded(
    folder: Path, server: GrpcServerKind = GrpcServerKind.GRPCIO, **more: str
) -> AsyncIterator[RpcHarness]:
    """A gateway with one provider; `more` holds TOML values of its section."""
    async with scripted_provider() as provider:
        table = family_table("lucky", "luckymonaco", provider.base_url, **more)
        async with running_gateway(folder, table, grpc=f'server = "{server}"') as gateway:
            yield RpcHarness(gateway, provider)


@pytest.fixture(params=list(GrpcServerKind))
async def narrow(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RpcHarness]:
    """A gateway with one provider with low limits."""
    async with bounded(tmp_path, request.param, **NARROW) as harness:
        yield harness


def close(harness: RpcHarness, provider: str = "lucky", request_id: str = "") -> Awaitable[pb.CloseSessionResponse]:
    """Call CloseSession."""
    request = pb.CloseSessionRequest(provider=provider, user_id="tester", request_id=request_id or str(uuid4()))
    return harness.gateway.sessions.CloseSession(request, timeout=30)


async def test_nothing_is_sent_to_a_disabled_provider(harness: RpcHarness) -> None:
    """The failure names the actor, the reason and the command; other providers, and an enabled one, are called."""
    request_id = str(uuid4())
    await switch_off(harness.gateway, why="wrong invoices")
    failure = await harness.fails(request_id=request_id)
    assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROVIDER_DISABLED",
        "NOT_SENT",
        False,
    )
    for text in (
        "anonymous on behalf of ada",
        "wrong invoices",
        "session-gateway provider enable lucky",
        "nothing was sent",
    ):
        assert text in failure.message
    assert (failure.metadata["actor"], failure.metadata["on_behalf_of"]) == ("anonymous", "ada")
    assert failure.metadata["reason"] == "wrong invoices"
    assert failure.metadata["provider"] == "lucky"
    assert not harness.provider.received
    assert (await close(harness, "kyren")).outcome == pb.OUTCOME_CLOSED
    assert (await health_of(harness.gateway)).state == pb.HEALTH_STATE_UNTRIED
    await switch_on(harness.gateway)
    answer = await close(harness, request_id=request_id)
    assert (answer.outcome, answer.replayed) == (pb.OUTCOME_CLOSED, False)


async def test_a_stored_success_is_replayed_for_a_disabled_provider(harness: RpcHarness) -> None:
    """The same request_id is answered again, and nothing is sent."""
    request_id = str(uuid4())
    await close(harness, request_id=request_id)
    await switch_off(harness.gateway)
    assert (await close(harness, request_id=request_id)).replayed
    assert len(harness.provider.received) == 1


async def test_calls_in_flight_finish_when_a_provider_is_disabled(harness: RpcHarness) -> None:
    """A call that was sent before is answered with its outcome."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    in_flight = asyncio.ensure_future(close(harness))
    await harness.provider.arrived.wait()
    await switch_off(harness.gateway)
    release.set()
    assert (await in_flight).outcome == pb.OUTCOME_CLOSED


async def test_a_failure_is_not_retried_at_a_disabled_provider(tmp_path: Path) -> None:
    """The caller gets the failure of the attempt before."""
    async with bounded(tmp_path, retry="{ attempts = 3 }") as harness:
        release = asyncio.Event()

        async def failing(_: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response(status=503)

        harness.provider.behaviour = failing
        in_flight = asyncio.ensure_future(close(harness))
        await harness.provider.arrived.wait()
        await switch_off(harness.gateway)
        release.set()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await in_flight
        assert (failure_of(raised.value).reason, failure_of(raised.value).certainty) == ("PROVIDER_FAILED", "UNKNOWN")
        assert len(harness.provider.received) == 1


async def test_a_queued_call_is_not_sent_to_a_disabled_provider(narrow: RpcHarness) -> None:
    """It fails with PROVIDER_DISABLED, and leaves the queue."""

    async def until_calls(in_flight: int, queued: int) -> None:
        async def reported() -> bool:
            health = await health_of(narrow.gateway)
            return (health.in_flight_calls, health.queued_calls) == (in_flight, queued)

        await until(reported)

    release = asyncio.Event()
    narrow.provider.behaviour = answering_after(release)
    in_flight = [asyncio.ensure_future(close(narrow)) for _ in range(2)]
    await until_calls(2, 0)
    queued = asyncio.ensure_future(close(narrow))
    await until_calls(2, 1)
    await switch_off(narrow.gateway)
    release.set()
    assert [answer.outcome for answer in await asyncio.gather(*in_flight)] == [pb.OUTCOME_CLOSED] * 2
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await queued
    assert (failure_of(raised.value).reason, failure_of(raised.value).certainty) == ("PROVIDER_DISABLED", "NOT_SENT")
    assert len(narrow.provider.received) == 2
    await until_calls(0, 0)
    await switch_on(narrow.gateway)
    assert (await close(narrow)).outcome == pb.OUTCOME_CLOSED


async def test_a_circuit_breaker_decides_health(narrow: RpcHarness) -> None:
    """ListProviders reports its state, and health is SERVING only while it is closed, even after a late success."""
    assert (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_CLOSED
    release = asyncio.Event()
    narrow.provider.behaviour = answering_after(release)
    in_flight = asyncio.ensure_future(close(narrow))
    await narrow.provider.arrived.wait()
    narrow.provider.behaviour = answering(500)
    for _ in range(50):
        assert (await narrow.fails()).reason == "PROVIDER_FAILED"
    assert (await health_of(narrow.gateway)).circuit == pb.CIRCUIT_STATE_OPEN
    release.set()
    await in_flight
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


async def test_nothing_is_sent_when_a_provider_is_disabled_during_the_write_of_the_intent(tmp_path: Path) -> None:
    """No request is sent after DisableProvider has answered, and the stored intent is NOT_SENT."""
    async with bounded(tmp_path) as harness:
        store, intended, go_on = harness.gateway.store, asyncio.Event(), asyncio.Event()
        begin, request_id = store.begin_close, str(uuid4())

        async def slowly(*args: Any) -> Any:
            record = await begin(*args)
            intended.set()
            await go_on.wait()
            return record

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "begin_close", slowly)
            calling = asyncio.ensure_future(harness.fails(request_id=request_id))
            await intended.wait()
            await switch_off(harness.gateway)
            go_on.set()
            failure = await calling
        assert (failure.reason, failure.certainty) == ("PROVIDER_DISABLED", "NOT_SENT")
        assert not harness.provider.received
        await harness.gateway.gateway.close_service.drain()
        record = await store.find_close(request_id)
        assert record is not None
        assert (record.attempts, record.certainty) == (1, "NOT_SENT")


async def test_a_short_deadline_does_not_make_a_provider_unhealthy(tmp_path: Path) -> None:
    """A call whose deadline leaves no time for an answer does not affect the provider's health."""
    async with bounded(tmp_path) as harness:
        await close(harness)
        harness.provider.behaviour = hanging
        with pytest.raises(grpc.aio.AioRpcError):
            await harness.gateway.sessions.CloseSession(
                pb.CloseSessionRequest(provider="lucky", user_id="tester"), timeout=0.15
            )
        await harness.gateway.gateway.close_service.drain()
        assert await is_serving(harness.gateway)
        assert (await health_of(harness.gateway)).state == pb.HEALTH_STATE_ANSWERING


@pytest.mark.parametrize("letter", ["x", "я", "退", "😀"])
async def test_a_long_reason_does_not_displace_the_failures_details(harness: RpcHarness, letter: str) -> None:
    """The status is small enough for a client, in every script."""
    await switch_off(harness.gateway, by=letter * 255, why=letter * 1000)
    failure = await harness.fails()
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_DISABLED")
    assert failure.certainty == "NOT_SENT"
