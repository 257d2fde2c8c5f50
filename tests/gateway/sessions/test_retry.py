"""A close is retried where that may help: within its deadline, within the budget, and without loss of certainty."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from gateway.outbound.retry import RetryBudget
from gateway.sessions import close_execution
from gateway.store.base import StoreUnavailable
from gateway.store.reconciliation import ItemFilter
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.sessions.harness import REFUSED, THREE_ATTEMPTS, CloseHarness, close_harness, close_request
from tests.support.gateway import family_table, running_gateway
from tests.support.provider import (
    Behaviour,
    answering,
    answering_after,
    hanging,
    resetting,
    scripted_provider,
)
from tests.support.waiting import until


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[CloseHarness]:
    """A gateway that makes up to three attempts for each call."""
    async with close_harness(tmp_path, retry=THREE_ATTEMPTS) as started:
        yield started


def in_sequence(*behaviours: Behaviour) -> Behaviour:
    """Each for one request, the last for all that follow."""
    left = list(behaviours)

    async def behave(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return behave


@pytest.mark.parametrize(
    "first",
    [answering(503), answering(429), answering(200, b'{"error":998}'), resetting],
    ids=["503", "429", "998", "connection lost"],
)
async def test_temporary_failures_are_retried(harness: CloseHarness, first: Behaviour) -> None:
    """The caller receives the success only; the journal has each attempt with its own uuid."""
    harness.provider.behaviour = in_sequence(first, first, answering())
    request = close_request()
    answer = await harness.call(request, 60)
    assert (answer.outcome, answer.replayed) == (pb.OUTCOME_CLOSED, False)
    lines = await harness.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict == "CLOSED") for line in lines] == [(1, False), (2, False), (3, True)]
    assert [json.loads(received.body)["uuid"] for received in harness.provider.received] == [
        line.attempt_uuid for line in lines
    ]
    assert len({line.attempt_uuid for line in lines}) == 3
    assert not (await harness.store.items(ItemFilter())).entries


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(200, REFUSED, {"Retry-After": "1"}),
        answering(200, b'{"error":999}'),
        answering(200, b'{"error":17000}'),
        answering(200, b"<html>"),
        answering(302, b"", {"Location": "/"}),
        answering(401),
    ],
    ids=["refused", "999", "unlisted", "malformed", "redirect", "credentials"],
)
async def test_permanent_failures_are_not_retried(harness: CloseHarness, behaviour: Behaviour) -> None:
    """A refusal and an answer that is not the dialect's end the call after one attempt."""
    harness.provider.behaviour = behaviour
    assert not (await harness.fails_recorded(close_request())).retry
    assert len(harness.provider.received) == 1


async def test_attempts_are_limited(harness: CloseHarness) -> None:
    """The caller receives the reason of the last attempt."""
    harness.provider.behaviour = in_sequence(resetting, resetting, answering(503))
    failure = await harness.fails_recorded(close_request())
    assert (failure.reason, failure.certainty, failure.retry) == ("PROVIDER_FAILED", "UNKNOWN", True)
    assert len(harness.provider.received) == 3


async def test_certainty_covers_all_attempts(harness: CloseHarness) -> None:
    """A later refusal does not prove that the first attempt had no effect."""
    harness.provider.behaviour = in_sequence(resetting, answering(200, REFUSED))
    failure = await harness.fails_recorded(close_request())
    assert (failure.reason, failure.certainty) == ("PROVIDER_REFUSED", "UNKNOWN")


async def test_attempts_that_were_not_sent_stay_not_sent(tmp_path: Path) -> None:
    """An unreachable provider is tried three times, and the certainty is NOT_SENT."""
    section = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", retry=THREE_ATTEMPTS)
    async with scripted_provider() as unused, running_gateway(tmp_path, section) as gateway:
        harness, request = CloseHarness(gateway, unused), close_request()
        failure = await harness.fails_recorded(request)
        assert (failure.reason, failure.certainty) == ("PROVIDER_UNREACHABLE", "NOT_SENT")
        lines = await harness.store.exchanges(request_id=request.request_id)
        assert [(line.attempt, line.certainty) for line in lines] == [(n, "NOT_SENT") for n in (1, 2, 3)]


async def test_unknown_outcomes_are_retried_only_where_closing_is_idempotent(harness: CloseHarness) -> None:
    """Where the adapter does not say so, a failure of certainty UNKNOWN is not retried, and a certain one is."""
    harness.replace_close_call(idempotent=False)
    harness.provider.behaviour = resetting
    await harness.fails_recorded(close_request())
    assert len(harness.provider.received) == 1
    harness.provider.behaviour = answering(429)
    await harness.fails_recorded(close_request())
    assert len(harness.provider.received) == 1 + 3


async def test_a_hanging_attempt_is_cut_off(tmp_path: Path) -> None:
    """`attempt_timeout_s` limits one attempt, so that another one has time."""
    limits = "{ attempt_timeout_s = 1.0 }"
    async with close_harness(tmp_path, retry=THREE_ATTEMPTS, limits=limits) as harness:
        harness.provider.behaviour = in_sequence(hanging, hanging, answering())
        assert (await harness.call(close_request(), 60)).outcome == pb.OUTCOME_CLOSED
        assert len(harness.provider.received) == 3


async def test_no_attempt_begins_without_time(tmp_path: Path) -> None:
    """The deadline covers all attempts: the third would have to begin after it."""
    limits = "{ attempt_timeout_s = 0.5 }"
    async with close_harness(tmp_path, retry="{ attempts = 10, backoff_s = 0.01 }", limits=limits) as harness:
        harness.provider.behaviour = hanging
        failure = await harness.fails_by(close_request(), 1.05)
        assert (failure.reason, failure.certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
        assert 1 <= len(harness.provider.received) <= 2


async def test_retry_after_is_respected(harness: CloseHarness) -> None:
    """The gateway waits where there is time, and otherwise passes the delay on to the caller."""
    harness.provider.behaviour = in_sequence(answering(429, headers={"Retry-After": "0"}), answering())
    assert (await harness.call(close_request())).outcome == pb.OUTCOME_CLOSED
    harness.provider.received.clear()
    harness.provider.behaviour = answering(429, headers={"Retry-After": "120"})
    failure = await harness.fails_recorded(close_request())
    assert (failure.certainty, failure.retry_after_s) == ("REFUSED", 120)
    assert len(harness.provider.received) == 1


async def test_calls_share_a_retry_budget(harness: CloseHarness) -> None:
    """Where every call fails, the retries stay within the budget of a stopped clock: ten, and a fifth of the calls."""
    harness.admission.budget = RetryBudget(lambda: 0.0)
    harness.provider.behaviour = answering(503)
    await asyncio.gather(*(harness.fails_recorded(close_request(), 60) for _ in range(40)))
    assert 40 < len(harness.provider.received) <= 1.2 * 40 + 10


async def test_a_call_counts_once_for_the_budget(harness: CloseHarness) -> None:
    """It deposits once, however many attempts it has; a replayed success deposits nothing."""
    harness.admission.budget = budget = CountingBudget(monotonic)
    harness.provider.behaviour = in_sequence(answering(503), answering(503), answering())
    request = close_request()
    for _ in range(2):
        await harness.call(request, 60)
    assert (budget.deposits, budget.withdrawals) == (1, 2)


class CountingBudget(RetryBudget):
    """Counts how often it is used."""

    deposits = withdrawals = 0

    def deposit(self) -> None:
        self.deposits += 1
        super().deposit()

    def try_withdraw(self) -> bool:
        self.withdrawals += 1
        return super().try_withdraw()


@pytest.mark.parametrize(
    ("behaviour", "certainty"), [(resetting, "UNKNOWN"), (answering(429), "REFUSED")], ids=["unknown", "refused"]
)
async def test_a_bug_between_attempts_keeps_the_certainty(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, certainty: str
) -> None:
    """The caller receives GATEWAY_ERROR with the certainty of the attempt before it."""
    harness.provider.behaviour = behaviour

    def break_next_attempt(*_: object) -> float:
        monkeypatch.setattr(close_execution, "new_id", None)
        return 0.0

    monkeypatch.setattr(close_execution, "backoff_s", break_next_attempt)
    failure = await harness.fails_recorded(close_request())
    assert (failure.reason, failure.certainty) == ("GATEWAY_ERROR", certainty)
    assert len(harness.provider.received) == 1


async def test_a_caller_that_leaves_during_the_retry_delay_receives_unknown(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It receives the reason of the attempt that was made, and UNKNOWN because another one may follow."""
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 3.0)
    harness.provider.behaviour = in_sequence(answering(429), answering())
    request = close_request()
    long = harness.start(request, 60)
    await until(partial(harness.recorded, request))
    failure = await harness.fails_by(request, 0.3)
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
    assert (await long).outcome == pb.OUTCOME_CLOSED


async def test_no_retry_where_every_caller_left_during_the_attempt(harness: CloseHarness) -> None:
    """The attempt that was sent is recorded, and no other is made."""
    release = asyncio.Event()

    async def fail_later(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    harness.provider.behaviour = fail_later
    request = close_request()
    await harness.call_and_cancel(request, harness.provider.arrived.wait)
    release.set()
    await harness.service.drain()
    lines = await harness.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict) for line in lines] == [(1, "PROVIDER_FAILED")]


async def test_no_retry_where_every_caller_left_during_the_delay(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The execution ends at once, long before the delay is over."""
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 3600)
    harness.provider.behaviour = answering(503)
    request = close_request()

    async def first_attempt_is_recorded() -> None:
        await until(partial(harness.recorded, request))

    await harness.call_and_cancel(request, first_attempt_is_recorded, timeout_s=7200)
    async with asyncio.timeout(60):
        await harness.service.drain()
    record = await harness.store.find_close(request.request_id)
    assert record is not None
    assert (len(harness.provider.received), record.attempts) == (1, 1)


async def test_no_retry_where_the_failure_could_not_be_recorded(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every attempt that is sent must be in the journal."""
    monkeypatch.setattr(harness.store, "fail_close", unavailable)
    harness.provider.behaviour = answering(503)
    assert (await harness.fails_recorded(close_request())).reason == "PROVIDER_FAILED"
    assert len(harness.provider.received) == 1


async def unavailable(*_: object) -> None:
    raise StoreUnavailable("the database is away")


async def test_no_retry_where_its_intent_could_not_be_recorded(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller receives the failure of the attempt that was made."""
    begin_close = harness.store.begin_close

    async def begin_once(*args: Any) -> Any:
        monkeypatch.setattr(harness.store, "begin_close", unavailable)
        return await begin_close(*args)

    monkeypatch.setattr(harness.store, "begin_close", begin_once)
    harness.provider.behaviour = answering(503)
    failure = await harness.fails_recorded(close_request())
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
    assert len(harness.provider.received) == 1


async def test_an_outcome_is_recorded_without_a_waiting_caller(harness: CloseHarness) -> None:
    """A caller that cancelled finds the outcome under its request_id."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    await harness.call_and_cancel(request, harness.provider.arrived.wait)
    release.set()
    await harness.service.drain()
    harness.provider.behaviour = answering(500)
    again = await harness.call(request)
    assert (again.outcome, again.replayed) == (pb.OUTCOME_CLOSED, True)
