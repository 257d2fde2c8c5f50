"""CloseSession by request_id: recorded before sending, replayed after a success, executed once for all its callers."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from adapters.contract import Certainty
from gateway.store.models import Target
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.sessions.harness import REFUSED, CloseHarness, close_harness, close_request
from tests.support.gateway import locked, provider_table, running_gateway
from tests.support.provider import SUCCESS, answering, answering_after, hanging, resetting, scripted_provider


async def test_a_success_contains_the_providers_answer(harness: CloseHarness) -> None:
    """It has the outcome, the provider's code, description and status, the end time, and a new id if none is given."""
    before = datetime.now(UTC)
    answer = await harness.call(pb.CloseSessionRequest(provider="lucky", user_id="u"))
    assert answer.outcome == pb.OUTCOME_CLOSED
    assert (answer.provider_answer.code, answer.provider_answer.description) == ("0", "Success")
    assert answer.provider_answer.http_status == 200
    assert before <= answer.end_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert len(answer.request_id) == 36
    assert not answer.replayed


async def test_a_success_is_replayed(harness: CloseHarness) -> None:
    """A repeated request receives the stored success, and nothing is sent. Token and device may differ."""
    request = close_request()
    first = await harness.call(request)
    harness.provider.behaviour = answering(500)
    device = pb.Device(os="Android")
    again = await harness.call(close_request("lucky", request.request_id.upper(), token="another", device=device))
    assert again.replayed
    again.replayed = False
    assert again == first
    assert len(harness.provider.received) == 1


async def test_a_success_survives_a_restart(tmp_path: Path) -> None:
    """A gateway that is started on the same store replays a success."""
    request = close_request()
    async with close_harness(tmp_path) as harness:
        first = await harness.call(request)
    async with close_harness(tmp_path) as harness:
        again = await harness.call(request)
        assert not harness.provider.received
    assert again.replayed
    assert again.end_time == first.end_time


async def test_a_replay_needs_no_token(tmp_path: Path) -> None:
    """A success is replayed where the request could not be sent again: its token is not stored."""
    request = close_request("eliab", session_id="s", token="callers")
    async with scripted_provider() as provider:
        table = provider_table("eliab", "eliab", provider.base_url).replace('token = "configured-token"\n', "")
        provider.behaviour = answering(200, b'{"info":{"type":"success","title":"t","message":"m","sessionId":"s"}}')
        async with running_gateway(tmp_path, table) as gateway:
            harness = CloseHarness(gateway, provider)
            await harness.call(request)
            request.token = ""
            assert (await harness.call(request)).replayed
            assert (await harness.fails(close_request("eliab", session_id="s"))).fields == ("token",)


async def test_a_failure_is_not_replayed(harness: CloseHarness) -> None:
    """The same request_id makes another attempt, with the next number and another uuid."""
    request = close_request()
    harness.provider.behaviour = answering(200, REFUSED)
    await harness.fails(request)
    harness.provider.behaviour = answering()
    answer = await harness.call(request)
    assert not answer.replayed
    assert len({json.loads(received.body)["uuid"] for received in harness.provider.received}) == 2
    lines = await harness.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict) for line in lines] == [(1, "PROVIDER_REFUSED"), (2, "CLOSED")]


async def test_certainty_covers_all_calls_of_a_request_id(harness: CloseHarness) -> None:
    """Once an attempt is UNKNOWN, a later refusal is UNKNOWN too; a success ends that."""
    request = close_request()
    for behaviour, certainty in (
        (answering(200, REFUSED), "REFUSED"),
        (resetting, "UNKNOWN"),
        (answering(200, REFUSED), "UNKNOWN"),
    ):
        harness.provider.behaviour = behaviour
        assert (await harness.fails(request)).certainty == certainty
    harness.provider.behaviour = answering()
    assert (await harness.call(request)).outcome == pb.OUTCOME_CLOSED


async def test_concurrent_callers_share_one_execution(harness: CloseHarness) -> None:
    """Twenty calls with the same id are sent once, and receive the same answer."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    calls = [harness.start(request, 60) for _ in range(20)]
    await harness.provider.arrived.wait()
    release.set()
    answers = await asyncio.gather(*calls)
    assert len(harness.provider.received) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len({answer.end_time.ToNanoseconds() for answer in answers}) == 1


async def test_other_content_is_rejected_while_the_first_is_in_flight(harness: CloseHarness) -> None:
    """The same id with other content is REQUEST_ID_REUSED, and the first call is not affected."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    first = harness.start(request)
    await harness.provider.arrived.wait()
    failure = await harness.fails(close_request("lucky", request.request_id, game_id="another"))
    assert failure.reason == "REQUEST_ID_REUSED"
    release.set()
    assert (await first).outcome == pb.OUTCOME_CLOSED


async def test_each_caller_has_its_own_deadline(harness: CloseHarness) -> None:
    """A caller with a short deadline receives UNKNOWN, and the call goes on for one with a longer deadline."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    short = asyncio.ensure_future(harness.fails_by(request, 1.0))
    await harness.provider.arrived.wait()
    long = harness.start(request, 60)
    error = await short
    assert (error.reason, error.certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
    release.set()
    assert (await long).outcome == pb.OUTCOME_CLOSED
    assert len(harness.provider.received) == 1


async def test_a_cancelled_caller_does_not_affect_others(harness: CloseHarness) -> None:
    """A cancellation ends the waiting of one caller; the execution goes on."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    cancelled = harness.start(request)
    await harness.provider.arrived.wait()
    cancelled.cancel()
    other = harness.start(request)
    await asyncio.wait({cancelled})
    release.set()
    assert (await other).outcome == pb.OUTCOME_CLOSED
    assert len(harness.provider.received) == 1


async def test_the_intent_is_durable_before_anything_is_sent(harness: CloseHarness) -> None:
    """The store holds the intent when the provider receives the request. Token and device are not stored."""
    database, seen = harness.gateway.database, list[tuple[str, int]]()

    async def read_store(request: web.Request) -> web.StreamResponse:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            seen.extend(connection.execute("SELECT provider, attempts FROM targets"))
        return web.Response(body=SUCCESS)

    harness.provider.behaviour = read_store
    await harness.call(close_request(token="callers-token"))
    assert seen == [("lucky", 1)]
    for path in database.parent.glob("gateway.db*"):
        assert b"callers-token" not in path.read_bytes()
        assert b"configured-token" not in path.read_bytes()


async def test_an_intent_without_an_outcome_is_unknown(tmp_path: Path) -> None:
    """After a crash the next call is another attempt, and its refusal does not make the outcome certain."""
    request = close_request()
    async with close_harness(tmp_path) as harness:
        # What the store holds when a gateway is killed between the intent and the outcome.
        await harness.store.begin_close(request.request_id, Target("lucky", "u"), datetime.now(UTC))
    async with close_harness(tmp_path) as harness:
        harness.provider.behaviour = answering(200, REFUSED)
        failure = await harness.fails_recorded(request)
        assert (failure.reason, failure.certainty) == ("PROVIDER_REFUSED", "UNKNOWN")
        (line,) = await harness.store.exchanges(request_id=request.request_id)
        assert (line.attempt, line.certainty) == (2, "REFUSED")


async def test_the_default_deadline_applies_to_a_call_without_one(tmp_path: Path) -> None:
    """A caller that sets no deadline receives a timeout after the configured default."""
    async with close_harness(tmp_path, grpc="default_deadline_s = 2.0") as harness:
        harness.provider.behaviour = hanging
        failure = await harness.fails(close_request(), timeout_s=None)
        assert failure.reason == "PROVIDER_TIMEOUT"


async def test_the_journal_has_every_exchange(harness: CloseHarness) -> None:
    """An entry has both messages with secrets masked, the times and the attempt."""
    request = close_request(token="callers-token", reason="self-exclusion")
    await harness.call(request)
    (line,) = await harness.store.exchanges(request_id=request.request_id)
    received = harness.provider.received[0].body
    assert (line.method, line.path, line.status, line.attempt) == ("POST", "/V4/CloseSession", 200, 1)
    assert line.request.body == received.replace(b"callers-token", b"***")
    assert line.reply.body == SUCCESS
    assert json.loads(received)["uuid"] == line.attempt_uuid
    assert line.started_at <= line.ended_at


@pytest.mark.parametrize("timeout_s", [0.001, 0.03, 0.06])
async def test_a_call_without_time_is_not_recorded(harness: CloseHarness, timeout_s: float) -> None:
    """It is not sent, leaves no intent, and does not make a later refusal uncertain."""
    request = close_request()
    await harness.fails_by(request, timeout_s)
    await harness.service.drain()
    assert not harness.provider.received
    assert await harness.store.find_close(request.request_id) is None
    harness.provider.behaviour = answering(200, REFUSED)
    failure = await harness.fails(request)
    assert (failure.reason, failure.certainty) == ("PROVIDER_REFUSED", "REFUSED")


async def test_an_intent_recorded_after_the_deadline_is_concluded(harness: CloseHarness) -> None:
    """The caller receives NOT_SENT at its deadline, and the store concludes the attempt as NOT_SENT later."""
    request = close_request()
    with locked(harness.gateway.database):
        error = await harness.fails_by(request, 1.5)
        assert (error.reason, error.certainty) == ("STORE_UNAVAILABLE", "NOT_SENT")
    await harness.service.drain()
    record = await harness.store.find_close(request.request_id)
    assert record is not None
    assert (record.attempts, record.certainty) == (1, "NOT_SENT")
    assert not await harness.store.exchanges(request_id=request.request_id)


async def test_a_success_is_replayed_after_its_provider_is_retired(tmp_path: Path) -> None:
    """Other calls to the retired provider are PROVIDER_UNKNOWN."""
    request = close_request()
    async with close_harness(tmp_path) as harness:
        first = await harness.call(request)
    async with scripted_provider() as unused, running_gateway(tmp_path, "[providers.lucky]\nretired = true") as gateway:
        harness = CloseHarness(gateway, unused)
        again = await harness.call(request)
        assert (again.replayed, again.end_time) == (True, first.end_time)
        assert (await harness.fails(close_request())).reason == "PROVIDER_UNKNOWN"


async def test_capped_deadlines_end_calls_in_progress(harness: CloseHarness) -> None:
    """A gateway that stops does not wait for a hanging provider: the outcome is UNKNOWN. Later calls are NOT_SENT."""
    harness.provider.behaviour = hanging
    calling = asyncio.ensure_future(harness.fails(close_request(), 3600))
    await harness.provider.arrived.wait()
    harness.service.cap_deadlines(asyncio.get_running_loop().time() + 0.1)
    async with asyncio.timeout(60):
        failure = await calling
        assert (failure.reason, failure.certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
        assert (await harness.fails(close_request(), 3600)).certainty == "NOT_SENT"


async def test_a_caller_without_time_does_not_receive_not_sent_from_a_running_execution(harness: CloseHarness) -> None:
    """Another caller's request may still be executed, so the outcome is UNKNOWN."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request = close_request()
    long = harness.start(request, 60)
    await harness.provider.arrived.wait()
    assert (await harness.fails_by(request, 0)).certainty is Certainty.UNKNOWN
    release.set()
    assert (await long).outcome == pb.OUTCOME_CLOSED


@pytest.mark.parametrize(
    ("provider", "timeout_s"), [("lucky", 0.06), ("nobody", 0.3)], ids=["no time", "not configured"]
)
async def test_a_hanging_store_does_not_delay_a_rejection(
    harness: CloseHarness, monkeypatch: pytest.MonkeyPatch, provider: str, timeout_s: float
) -> None:
    """The search for a stored success ends with the deadline."""

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(harness.store, "find_close", hang)
    async with asyncio.timeout(60):
        await harness.fails_by(close_request(provider), timeout_s)
