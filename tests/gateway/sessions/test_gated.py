"""A sick or slow provider is kept from its callers, and its callers from it: each is told at once what it can do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from adapters.contract import Account, Attempt, CloseSession, HttpRequest, Outcome
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.sessions import close_execution
from gateway.sessions.close_recorder import CloseAnswer
from gateway.sessions.errors import GatewayError
from gateway.sessions.in_flight import InFlightClose
from gateway.store.models import Target
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, Told, family_table, locked, running_gateway, told
from tests.support.provider import Behaviour, ScriptedProvider, answering, answering_after, hanging, scripted_provider
from tests.support.waiting import until

BREAKER = "{ min_requests = 50, open_s = 0.3, probe_s = 30 }"
ONE = "{ max_concurrent_calls = 1, max_queued_calls = 1 }"

Scene = tuple[Running, ScriptedProvider]


@asynccontextmanager
async def scene(folder: Path, **more: str) -> AsyncIterator[Scene]:
    """A gateway with two providers at one place, of which the first has these bounds."""
    async with scripted_provider() as provider:
        sections = (
            family_table("lucky", "luckymonaco", provider.base_url, **more),
            family_table("other", "luckymonaco", provider.base_url),
        )
        async with running_gateway(folder, *sections) as gateway:
            yield gateway, provider


def close(provider: str = "lucky") -> pb.CloseSessionRequest:
    return pb.CloseSessionRequest(request_id=str(uuid4()), provider=provider, user_id="u")


async def fails(gateway: Running, request: pb.CloseSessionRequest, timeout_s: float = 10) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.sessions.CloseSession(request, timeout=timeout_s)
    return told(raised.value)


async def break_(gateway: Running, provider: ScriptedProvider) -> None:
    """Let the provider fail until nothing more is sent to it."""
    provider.behaviour = answering(500)
    while gateway.gateway.close_service._providers["lucky"].admission.circuit is Circuit.CLOSED:
        await fails(gateway, close())
    provider.received.clear()


async def test_an_open_circuit_refuses_without_asking(tmp_path: Path) -> None:
    """Nothing is sent, when to come back is told, and neither another provider nor what was closed before is kept."""
    async with scene(tmp_path, breaker=BREAKER.replace("0.3", "30")) as (gateway, provider):
        before = close()
        await gateway.sessions.CloseSession(before)
        await break_(gateway, provider)
        failure = await fails(gateway, close())
        assert (failure.code, failure.reason, failure.certainty) == (
            grpc.StatusCode.UNAVAILABLE,
            "CIRCUIT_OPEN",
            "NOT_SENT",
        )
        assert 25 < failure.retry_after_s <= 30
        assert (await gateway.sessions.CloseSession(before)).replayed
        assert not provider.received
        provider.behaviour = answering()
        assert (await gateway.sessions.CloseSession(close("other"))).outcome == pb.OUTCOME_CLOSED


@pytest.mark.parametrize(
    ("behaviour", "certainty"), [(answering(500), "UNKNOWN"), (answering(429), "REFUSED")], ids=["unknown", "refused"]
)
async def test_what_was_received_before_is_not_unsent(tmp_path: Path, behaviour: Behaviour, certainty: str) -> None:
    """A call that is refused at the gate does not prove that the attempt before it was not carried out, or not even
    received.
    """
    async with scene(tmp_path, breaker=BREAKER.replace("0.3", "30")) as (gateway, provider):
        provider.behaviour = behaviour
        request = close()
        assert (await fails(gateway, request)).certainty == certainty
        await break_(gateway, provider)
        failure = await fails(gateway, request)
        assert (failure.reason, failure.certainty) == ("CIRCUIT_OPEN", certainty)


def open_circuit(gateway: Running) -> None:
    """As if fifty other calls had failed."""
    gate = gateway.gateway.close_service._providers["lucky"].admission
    while permit := gate.try_acquire():
        with permit:
            permit.record_result(failed=True)


async def test_who_failed_as_the_circuit_opened_does_not_wait_to_try_again(tmp_path: Path) -> None:
    """Another attempt would be refused: the caller hears at once of the one that was made."""
    async with scene(tmp_path, retry="{ attempts = 2, backoff_s = 30, max_backoff_s = 30 }") as (gateway, provider):

        async def fail(request: web.Request) -> web.StreamResponse:
            open_circuit(gateway)
            return web.Response(status=503)

        provider.behaviour = fail
        async with asyncio.timeout(1):
            assert (await fails(gateway, close(), 60)).reason == "PROVIDER_FAILED"


async def test_who_waited_to_try_again_as_the_circuit_opened_hears_of_his_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries that are cut off tell the last attempt's reason, and what it left unknown stays so."""
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 0.3)
    async with scene(tmp_path, retry="{ attempts = 2 }") as (gateway, provider):
        provider.behaviour = answering(503)
        request = close()
        calling = asyncio.ensure_future(fails(gateway, request))

        async def recorded() -> bool:
            return bool(await gateway.store.exchanges(request_id=request.request_id))

        await until(recorded)
        open_circuit(gateway)
        failure = await calling
        assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
        assert len(provider.received) == 1


async def test_one_call_finds_out_when_it_is_well_again(tmp_path: Path) -> None:
    """All others are refused meanwhile; a caller who gives up does not count as the provider's failure."""
    async with scene(tmp_path, breaker=BREAKER) as (gateway, provider):
        await break_(gateway, provider)
        gate = gateway.gateway.close_service._providers["lucky"].admission
        await until(lambda: gate.circuit is Circuit.HALF_OPEN)
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        provider.arrived.clear()
        probe = asyncio.ensure_future(gateway.sessions.CloseSession(close(), timeout=20))
        await provider.arrived.wait()
        refused = await asyncio.gather(*(fails(gateway, close()) for _ in range(5)))
        assert {failure.reason for failure in refused} == {"CIRCUIT_OPEN"}
        assert len(provider.received) == 1
        release.set()
        assert (await probe).outcome == pb.OUTCOME_CLOSED
        assert gate.circuit is Circuit.CLOSED


@pytest.mark.parametrize(
    "behaviour",
    [answering(200, b'{"error":56}'), answering(200, b"<html>"), answering(429), answering(403)],
    ids=["refused", "malformed", "throttled", "credentials"],
)
async def test_a_provider_that_refuses_is_not_sick(tmp_path: Path, behaviour: object) -> None:
    """However often it does."""
    async with scene(tmp_path, breaker=BREAKER) as (gateway, provider):
        provider.behaviour = behaviour  # type: ignore[assignment]
        await asyncio.gather(*(fails(gateway, close()) for _ in range(60)))
        assert len(provider.received) == 60
        assert gateway.gateway.close_service._providers["lucky"].admission.circuit is Circuit.CLOSED


async def test_hasty_callers_do_not_make_a_provider_sick(tmp_path: Path) -> None:
    """A caller who leaves it no time to answer says nothing of it."""
    async with scene(tmp_path, breaker=BREAKER) as (gateway, provider):
        provider.behaviour = hanging
        for _ in range(3):
            calls = (gateway.sessions.CloseSession(close(), timeout=0.15) for _ in range(30))
            assert all(await asyncio.gather(*calls, return_exceptions=True))  # each one has failed
        assert gateway.gateway.close_service._providers["lucky"].admission.circuit is Circuit.CLOSED


async def test_a_busy_provider_takes_no_more(tmp_path: Path) -> None:
    """One call under way and one that waits are all that it may have here; a third is refused at once, and another
    provider's is served.
    """
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        first = asyncio.ensure_future(gateway.sessions.CloseSession(close()))
        await provider.arrived.wait()
        second = asyncio.ensure_future(gateway.sessions.CloseSession(close()))
        gate = gateway.gateway.close_service._providers["lucky"].admission
        await until(lambda: gate.queued == 1)
        failure = await fails(gateway, close())
        assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "PROVIDER_BUSY",
            "NOT_SENT",
            True,
        )
        other = asyncio.ensure_future(gateway.sessions.CloseSession(close("other")))
        await until(lambda: len(provider.received) == 2)
        release.set()
        assert [answer.outcome for answer in await asyncio.gather(first, second, other)] == [pb.OUTCOME_CLOSED] * 3


async def test_who_waited_says_what_time_it_is_when_it_is_sent(tmp_path: Path) -> None:
    """A request that its provider takes only while it is fresh does not grow old in the queue."""
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        told: list[datetime] = []
        providers = gateway.gateway.providers
        adapter = providers["lucky"].adapter
        assert adapter.close_session is not None
        encode = adapter.close_session.encode

        def listening(account: Account[Any], call: CloseSession, attempt: Attempt) -> HttpRequest:
            told.append(attempt.now)
            return encode(account, call, attempt)

        heard = replace(adapter, close_session=replace(adapter.close_session, encode=listening))
        providers.replace({"lucky": replace(providers["lucky"], adapter=heard)})
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        calls = [asyncio.ensure_future(gateway.sessions.CloseSession(close())) for _ in range(2)]
        await until(lambda: providers["lucky"].admission.queued == 1)
        released = datetime.now(UTC)
        release.set()
        await asyncio.gather(*calls)
        assert told[-1] >= released


async def test_who_waits_in_vain_is_told_that_nothing_was_sent(tmp_path: Path) -> None:
    """In time, and without a trace of a request that never was."""
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        hung = asyncio.ensure_future(gateway.sessions.CloseSession(close(), timeout=10))
        await provider.arrived.wait()
        waiting = close()
        failure = await fails(gateway, waiting, 0.5)
        assert (failure.reason, failure.certainty) == ("PROVIDER_BUSY", "NOT_SENT")
        assert await gateway.store.find_close(waiting.request_id) is None
        release.set()
        await hung


async def test_who_hangs_up_while_it_waits_is_not_sent(tmp_path: Path) -> None:
    """Its place in the queue is free at once, and the same request_id can be asked again."""
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        first = asyncio.ensure_future(gateway.sessions.CloseSession(close()))
        await provider.arrived.wait()
        gate = gateway.gateway.close_service._providers["lucky"].admission
        request = close()
        leaver = gateway.sessions.CloseSession(request, timeout=20)
        await until(lambda: gate.queued == 1)
        leaver.cancel()
        await until(lambda: gate.queued == 0)
        release.set()
        await first
        await until(lambda: not gateway.gateway.close_service._flights)
        assert len(provider.received) == 1
        again = await gateway.sessions.CloseSession(request)
        assert (again.outcome, again.replayed) == (pb.OUTCOME_CLOSED, False)


async def test_who_comes_as_the_last_one_leaves_is_served(tmp_path: Path) -> None:
    """A call that was given up is not what a new caller waits for."""
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        first = asyncio.ensure_future(gateway.sessions.CloseSession(close()))
        await provider.arrived.wait()
        closing, request_id = gateway.gateway.close_service, str(uuid4())

        def ask() -> asyncio.Task[CloseAnswer]:
            until_ = asyncio.get_running_loop().time() + 20
            return asyncio.create_task(closing.close(request_id, "lucky", CloseSession("u"), "", until_))

        leaver = ask()
        await until(lambda: closing._providers["lucky"].admission.queued == 1)
        flight = closing._flights[request_id]
        leaver.cancel()
        await asyncio.sleep(0)
        assert (flight.abandoned, flight.done) == (True, False)
        newcomer = ask()
        await until(lambda: flight.done)
        release.set()
        assert (await first).outcome == pb.OUTCOME_CLOSED
        assert (await newcomer).outcome == Outcome.CLOSED


async def test_who_stays_is_served_when_another_leaves(tmp_path: Path) -> None:
    """Of two who wait for one request the last one counts."""
    async with scene(tmp_path, limits=ONE) as (gateway, provider):
        release = asyncio.Event()
        provider.behaviour = answering_after(release)
        first = asyncio.ensure_future(gateway.sessions.CloseSession(close()))
        await provider.arrived.wait()
        request = close()
        leaver, stayer = (gateway.sessions.CloseSession(request, timeout=20) for _ in range(2))
        closing = gateway.gateway.close_service
        await until(lambda: request.request_id in closing._flights)
        flight = closing._flights[request.request_id]
        await until(lambda: flight._callers == 2)
        leaver.cancel()
        await until(lambda: flight._callers == 1)
        release.set()
        assert (await first).outcome == pb.OUTCOME_CLOSED
        assert (await stayer).outcome == pb.OUTCOME_CLOSED


async def test_who_hangs_up_while_the_intent_is_written_is_not_sent(tmp_path: Path) -> None:
    """The intent stands for an attempt that was not made, and the store says why."""
    async with scene(tmp_path) as (gateway, provider):
        request = close()
        closing = gateway.gateway.close_service
        with locked(gateway.database):
            leaver = gateway.sessions.CloseSession(request, timeout=20)
            await until(lambda: request.request_id in closing._flights)
            flight = closing._flights[request.request_id]
            leaver.cancel()
            await until(lambda: flight.abandoned)
        await closing.drain()
        record = await gateway.store.find_close(request.request_id)
        assert record is not None
        assert (record.attempts, record.certainty) == (1, "NOT_SENT")
        assert not provider.received


async def test_an_intent_that_is_written_for_nobody_is_concluded(tmp_path: Path) -> None:
    """Also where the store takes it in the very moment in which the last one leaves."""
    async with scene(tmp_path) as (gateway, _):
        flight = InFlightClose[CloseAnswer](str(uuid4()), Target("lucky", "u"), Deadline.after(10))
        flight.abandoned = True
        with pytest.raises(GatewayError):
            await gateway.gateway.close_service._recording.record_intent(flight)
        record = await gateway.store.find_close(flight.request_id)
        assert record is not None
        assert record.certainty == "NOT_SENT"
