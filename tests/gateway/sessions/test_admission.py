"""A failing or slow provider does not hold up callers, and callers do not overload it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from adapters.contract import Account, Attempt, CloseSession, HttpRequest, Outcome
from gateway.outbound.circuit_breaker import Circuit
from gateway.sessions import close_execution
from gateway.sessions.close_recorder import CloseAnswer
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.sessions.harness import REFUSED, CloseHarness, close_harness, close_request
from tests.support.actors import ADA
from tests.support.gateway import locked
from tests.support.provider import Behaviour, answering, answering_after, hanging
from tests.support.waiting import until

OPENS_BRIEFLY = "{ min_requests = 50, open_s = 0.3, probe_s = 30 }"
OPENS_LONG = "{ min_requests = 50, open_s = 300, probe_s = 30 }"
ONE_CALL = "{ max_concurrent_calls = 1, max_queued_calls = 1 }"


async def open_by_failures(harness: CloseHarness) -> None:
    """Let the provider fail until its circuit opens."""
    harness.provider.behaviour = answering(500)
    while harness.admission.circuit is Circuit.CLOSED:
        await harness.fails(close_request())
    harness.provider.received.clear()


def open_circuit(harness: CloseHarness) -> None:
    """Open the circuit as if fifty other calls had failed."""
    while permit := harness.admission.try_acquire():
        with permit:
            permit.record_result(failed=True)


async def test_open_circuit_rejects_without_sending(tmp_path: Path) -> None:
    """A call is rejected with a retry delay; stored successes and other providers are not affected."""
    async with close_harness(tmp_path, breaker=OPENS_LONG) as harness:
        before = close_request()
        await harness.call(before)
        await open_by_failures(harness)
        failure = await harness.fails(close_request())
        assert (failure.code, failure.reason, failure.certainty) == (
            grpc.StatusCode.UNAVAILABLE,
            "CIRCUIT_OPEN",
            "NOT_SENT",
        )
        assert 100 < failure.retry_after_s <= 300
        assert (await harness.call(before)).replayed
        assert not harness.provider.received
        harness.provider.behaviour = answering()
        assert (await harness.call(close_request("other"))).outcome == pb.OUTCOME_CLOSED


@pytest.mark.parametrize(
    ("behaviour", "certainty"), [(answering(500), "UNKNOWN"), (answering(429), "REFUSED")], ids=["unknown", "refused"]
)
async def test_rejection_keeps_the_certainty_of_earlier_attempts(
    tmp_path: Path, behaviour: Behaviour, certainty: str
) -> None:
    """A rejected call does not prove that the attempt before it had no effect or was not received."""
    async with close_harness(tmp_path, breaker=OPENS_LONG) as harness:
        harness.provider.behaviour = behaviour
        request = close_request()
        assert (await harness.fails(request)).certainty == certainty
        await open_by_failures(harness)
        failure = await harness.fails(request)
        assert (failure.reason, failure.certainty) == ("CIRCUIT_OPEN", certainty)


async def test_no_retry_delay_where_the_circuit_opens_with_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller receives the failure at once: another attempt would be rejected after the delay."""
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 3600)
    async with close_harness(tmp_path, retry="{ attempts = 2 }") as harness:

        async def fail(request: web.Request) -> web.StreamResponse:
            open_circuit(harness)
            return web.Response(status=503)

        harness.provider.behaviour = fail
        async with asyncio.timeout(60):
            assert (await harness.fails(close_request(), 7200)).reason == "PROVIDER_FAILED"


async def test_a_retry_that_the_circuit_rejects_reports_the_last_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason and its certainty stay."""
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 0.3)
    async with close_harness(tmp_path, retry="{ attempts = 2 }") as harness:
        fail_close = harness.store.fail_close

        async def fail_close_and_open(*args: Any) -> None:
            await fail_close(*args)
            open_circuit(harness)

        monkeypatch.setattr(harness.store, "fail_close", fail_close_and_open)
        harness.provider.behaviour = answering(503)
        failure = await harness.fails(close_request())
        assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
        assert len(harness.provider.received) == 1


async def test_one_probe_closes_the_circuit(tmp_path: Path) -> None:
    """All other calls are rejected while the probe is in flight."""
    async with close_harness(tmp_path, breaker=OPENS_BRIEFLY) as harness:
        await open_by_failures(harness)
        await until(lambda: harness.admission.circuit is Circuit.HALF_OPEN)
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        harness.provider.arrived.clear()
        probe = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        rejected = await asyncio.gather(*(harness.fails(close_request()) for _ in range(5)))
        assert {failure.reason for failure in rejected} == {"CIRCUIT_OPEN"}
        assert len(harness.provider.received) == 1
        release.set()
        assert (await probe).outcome == pb.OUTCOME_CLOSED
        assert harness.admission.circuit is Circuit.CLOSED


@pytest.mark.parametrize(
    "behaviour",
    [answering(200, REFUSED), answering(200, b"<html>"), answering(429), answering(403)],
    ids=["refused", "malformed", "throttled", "credentials"],
)
async def test_refusals_do_not_open_the_circuit(tmp_path: Path, behaviour: Behaviour) -> None:
    """A provider that refuses works, however often it refuses."""
    async with close_harness(tmp_path, breaker=OPENS_BRIEFLY) as harness:
        harness.provider.behaviour = behaviour
        await asyncio.gather(*(harness.fails(close_request(), 60) for _ in range(60)))
        assert len(harness.provider.received) == 60
        assert harness.admission.circuit is Circuit.CLOSED


async def test_short_deadlines_do_not_open_the_circuit(tmp_path: Path) -> None:
    """A caller that leaves a provider no time to answer does not count as the provider's failure."""
    async with close_harness(tmp_path, breaker=OPENS_BRIEFLY) as harness:
        harness.provider.behaviour = hanging
        for _ in range(3):
            calls = (harness.call(close_request(), 0.15) for _ in range(30))
            assert all(await asyncio.gather(*calls, return_exceptions=True))  # each one has failed
        await harness.service.drain()
        assert harness.admission.circuit is Circuit.CLOSED


async def test_a_full_queue_rejects_at_once(tmp_path: Path) -> None:
    """A third call is rejected where one is in flight and one queued; another provider's call is served."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        second = harness.start(close_request(), 60)
        await until(lambda: harness.admission.queued == 1)
        failure = await harness.fails(close_request(), 60)
        assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "PROVIDER_BUSY",
            "NOT_SENT",
            True,
        )
        other = harness.start(close_request("other"), 60)
        await until(lambda: len(harness.provider.received) == 2)
        release.set()
        assert [answer.outcome for answer in await asyncio.gather(first, second, other)] == [pb.OUTCOME_CLOSED] * 3


async def test_a_queued_request_carries_the_time_of_sending(tmp_path: Path) -> None:
    """A request is encoded again after it has waited, so that its timestamp is not outdated."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        encoded_at: list[datetime] = []
        close_session = harness.gateway.gateway.providers["lucky"].adapter.close_session
        assert close_session is not None

        def encode(account: Account[Any], call: CloseSession, attempt: Attempt) -> HttpRequest:
            encoded_at.append(attempt.now)
            return close_session.encode(account, call, attempt)

        harness.replace_close_call(encode=encode)
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        calls = [harness.start(close_request(), 60) for _ in range(2)]
        await until(lambda: harness.admission.queued == 1)
        released = datetime.now(UTC)
        release.set()
        await asyncio.gather(*calls)
        assert encoded_at[-1] >= released


async def test_a_call_whose_deadline_passes_in_the_queue_is_not_sent(tmp_path: Path) -> None:
    """It leaves no intent in the store."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        queued = close_request()
        failing = asyncio.create_task(harness.fails_by(queued, 600))
        await until(lambda: harness.admission.queued == 1)
        (await harness.execution(queued)).deadline.cap(asyncio.get_running_loop().time())
        failure = await failing
        assert (failure.reason, failure.certainty) == ("PROVIDER_BUSY", "NOT_SENT")
        assert await harness.store.find_close(queued.request_id) is None
        release.set()
        await first


async def test_a_call_cancelled_in_the_queue_is_not_sent(tmp_path: Path) -> None:
    """Its place in the queue is free at once, and the same request_id can be used again."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        request = close_request()
        cancelled = harness.call(request, 60)
        await until(lambda: harness.admission.queued == 1)
        cancelled.cancel()
        await until(lambda: harness.admission.queued == 0)
        release.set()
        await first
        await harness.service.drain()
        assert len(harness.provider.received) == 1
        again = await harness.call(request)
        assert (again.outcome, again.replayed) == (pb.OUTCOME_CLOSED, False)


async def test_a_caller_does_not_join_an_abandoned_execution(tmp_path: Path) -> None:
    """A caller that arrives just after the last one left gets its own execution."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        request_id = str(uuid4())

        def close() -> asyncio.Task[CloseAnswer]:
            deadline_at = asyncio.get_running_loop().time() + 60
            return asyncio.create_task(
                harness.service.close(request_id, "lucky", CloseSession("u"), "", deadline_at, ADA)
            )

        cancelled = close()
        await until(lambda: harness.admission.queued == 1)
        execution = harness.service.find(request_id)
        assert execution is not None
        cancelled.cancel()
        await asyncio.sleep(0)
        assert (execution.abandoned, execution.done) == (True, False)
        newcomer = close()
        await until(execution.task.done)
        release.set()
        assert (await first).outcome == pb.OUTCOME_CLOSED
        assert (await newcomer).outcome == Outcome.CLOSED


async def test_a_second_caller_keeps_the_execution_alive(tmp_path: Path) -> None:
    """The cancellation of one of two callers does not abandon the execution."""
    async with close_harness(tmp_path, limits=ONE_CALL) as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        request = close_request()
        cancelled, other = (harness.call(request, 60) for _ in range(2))
        execution = await harness.execution(request)
        await until(lambda: execution.waiters == 2)
        cancelled.cancel()
        await until(lambda: execution.waiters == 1)
        release.set()
        assert (await first).outcome == pb.OUTCOME_CLOSED
        assert (await other).outcome == pb.OUTCOME_CLOSED


async def test_a_call_cancelled_while_its_intent_is_written_is_not_sent(tmp_path: Path) -> None:
    """The intent is concluded as NOT_SENT."""
    async with close_harness(tmp_path) as harness:
        request = close_request()
        with locked(harness.gateway.database):
            cancelled = harness.call(request, 60)
            execution = await harness.execution(request)
            cancelled.cancel()
            await until(lambda: execution.abandoned)
        await assert_concluded_unsent(harness, request)


async def test_an_intent_written_as_the_last_caller_leaves_is_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has taken the intent, and the execution learns of it only after the caller has left."""
    async with close_harness(tmp_path) as harness:
        request, begin_close = close_request(), harness.store.begin_close
        written, go_on = asyncio.Event(), asyncio.Event()

        async def begin_and_wait(*args: Any) -> Any:
            record = await begin_close(*args)
            written.set()
            await go_on.wait()
            return record

        monkeypatch.setattr(harness.store, "begin_close", begin_and_wait)
        await harness.call_and_cancel(request, written.wait)
        go_on.set()
        await assert_concluded_unsent(harness, request)


async def assert_concluded_unsent(harness: CloseHarness, request: pb.CloseSessionRequest) -> None:
    await harness.service.drain()
    record = await harness.store.find_close(request.request_id)
    assert record is not None
    assert (record.attempts, record.certainty) == (1, "NOT_SENT")
    assert not harness.provider.received
