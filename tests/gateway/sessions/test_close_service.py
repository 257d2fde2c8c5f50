"""CloseSession by request_id: durable before sending, answered again as it was, one flight for all who ask."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from adapters.contract import Certainty, CloseSession
from gateway.sessions.errors import GatewayError
from gateway.store.models import Target
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, family_table, locked, provider_table, running_gateway, told
from tests.support.provider import (
    SUCCESS,
    ScriptedProvider,
    answering,
    answering_after,
    hanging,
    resetting,
    scripted_provider,
)


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def gateway(tmp_path: Path, provider: ScriptedProvider) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        yield gateway


def sections(provider: ScriptedProvider) -> tuple[str, ...]:
    return (
        family_table("lucky", "luckymonaco", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )


def close(request_id: str = "", **more: object) -> pb.CloseSessionRequest:
    return pb.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="u", **more)  # type: ignore[arg-type]


async def test_a_close_answers_its_evidence(gateway: Running) -> None:
    """A success tells the outcome, the provider's own answer, when it came, and an id where the caller gave none."""
    before = datetime.now(UTC)
    answer = await gateway.sessions.CloseSession(close())
    assert answer.outcome == pb.OUTCOME_CLOSED
    assert (answer.provider_answer.code, answer.provider_answer.description) == ("0", "Success")
    assert answer.provider_answer.http_status == 200
    assert before <= answer.end_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert len(answer.request_id) == 36
    assert not answer.replayed


async def test_a_success_is_answered_again_as_it_was(gateway: Running, provider: ScriptedProvider) -> None:
    """Repeated, a success is answered as it was, with `replayed`, and nothing is sent, token and device apart."""
    request_id = str(uuid4())
    first = await gateway.sessions.CloseSession(close(request_id))
    provider.behaviour = answering(500)
    again = await gateway.sessions.CloseSession(
        close(request_id.upper(), token="another", device=pb.Device(os="Android"))
    )
    assert again.replayed
    again.replayed = False
    assert again == first
    assert len(provider.received) == 1


async def test_a_success_survives_a_restart(tmp_path: Path, provider: ScriptedProvider) -> None:
    """What was acknowledged is durable: a gateway started on the same store answers it again."""
    request = close(str(uuid4()))
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        first = await gateway.sessions.CloseSession(request)
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        again = await gateway.sessions.CloseSession(request)
    assert again.replayed
    assert again.end_time == first.end_time
    assert len(provider.received) == 1


async def test_a_kept_success_needs_no_token(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A success is answered again even where the call could not be sent any more, for its token is not kept."""
    bare = provider_table("eliab", "eliab", provider.base_url).replace('token = "configured-token"\n', "")
    request = pb.CloseSessionRequest(
        request_id=str(uuid4()), provider="eliab", user_id="u", session_id="s", token="callers"
    )
    provider.behaviour = answering(200, b'{"info":{"type":"success","title":"t","message":"m","sessionId":"s"}}')
    async with running_gateway(tmp_path, bare) as gateway:
        await gateway.sessions.CloseSession(request)
        request.token = ""
        assert (await gateway.sessions.CloseSession(request)).replayed
        request.request_id = str(uuid4())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(request)
        assert told(raised.value).fields == ("token",)


async def test_a_failure_is_tried_again_with_another_uuid(gateway: Running, provider: ScriptedProvider) -> None:
    """A failure is not kept as the answer: the same request_id is another attempt, numbered, with a uuid of its own."""
    request = close(str(uuid4()))
    provider.behaviour = answering(200, b'{"error":56}')
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.sessions.CloseSession(request)
    provider.behaviour = answering()
    answer = await gateway.sessions.CloseSession(request)
    assert not answer.replayed
    assert len({json.loads(received.body)["uuid"] for received in provider.received}) == 2
    lines = await gateway.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict) for line in lines] == [(1, "PROVIDER_REFUSED"), (2, "CLOSED")]


async def test_certainty_is_that_of_the_whole_request(gateway: Running, provider: ScriptedProvider) -> None:
    """Once an attempt may have been carried out, a later refusal is UNKNOWN too; a success settles it."""
    request = close(str(uuid4()))

    async def certainty() -> str:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(request)
        return told(raised.value).certainty

    provider.behaviour = answering(200, b'{"error":56}')
    assert await certainty() == "REFUSED"
    provider.behaviour = resetting
    assert await certainty() == "UNKNOWN"
    provider.behaviour = answering(200, b'{"error":56}')
    assert await certainty() == "UNKNOWN"
    provider.behaviour = answering()
    assert (await gateway.sessions.CloseSession(request)).outcome == pb.OUTCOME_CLOSED


async def test_concurrent_callers_share_one_flight(gateway: Running, provider: ScriptedProvider) -> None:
    """The same id, asked twenty times at once, is sent once, and all hear the same answer."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request = close(str(uuid4()))
    calls = [asyncio.ensure_future(gateway.sessions.CloseSession(request)) for _ in range(20)]
    await provider.arrived.wait()
    release.set()
    answers = await asyncio.gather(*calls)
    assert len(provider.received) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len({answer.end_time.ToNanoseconds() for answer in answers}) == 1


async def test_other_content_in_flight_is_refused(gateway: Running, provider: ScriptedProvider) -> None:
    """The same id with other content is refused while the first is in flight too, and the first goes on."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request_id = str(uuid4())
    first = asyncio.ensure_future(gateway.sessions.CloseSession(close(request_id)))
    await provider.arrived.wait()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.sessions.CloseSession(close(request_id, game_id="another"))
    assert told(raised.value).reason == "REQUEST_ID_REUSED"
    release.set()
    assert (await first).outcome == pb.OUTCOME_CLOSED


async def test_each_caller_has_its_own_deadline(gateway: Running, provider: ScriptedProvider) -> None:
    """A caller with little time is told UNKNOWN in time, and does not end the call for one with more."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request = close(str(uuid4()))
    hasty = asyncio.ensure_future(gateway.sessions.CloseSession(request, timeout=0.4))
    await provider.arrived.wait()
    patient = asyncio.ensure_future(gateway.sessions.CloseSession(request, timeout=10))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await hasty
    assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
    release.set()
    assert (await patient).outcome == pb.OUTCOME_CLOSED
    assert len(provider.received) == 1


async def test_a_cancelled_caller_does_not_stop_the_others(gateway: Running, provider: ScriptedProvider) -> None:
    """A caller that hangs up ends its own waiting: the call goes on, and its outcome is kept."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request = close(str(uuid4()))
    leaver = asyncio.ensure_future(gateway.sessions.CloseSession(request))
    await provider.arrived.wait()
    leaver.cancel()
    stayer = asyncio.ensure_future(gateway.sessions.CloseSession(request))
    await asyncio.wait({leaver})
    release.set()
    assert (await stayer).outcome == pb.OUTCOME_CLOSED
    assert len(provider.received) == 1


async def test_the_intent_is_durable_before_anything_is_sent(gateway: Running, provider: ScriptedProvider) -> None:
    """When the provider sees the request, the store holds the intent already, token and device left out."""
    seen: list[tuple[str, int]] = []

    async def look(request: web.Request) -> web.StreamResponse:
        with closing(sqlite3.connect(f"file:{gateway.database}?mode=ro", uri=True)) as connection:
            seen.extend(connection.execute("SELECT provider, attempts FROM targets"))
        return web.Response(body=SUCCESS)

    provider.behaviour = look
    await gateway.sessions.CloseSession(close(token="callers-token"))
    assert seen == [("lucky", 1)]
    for path in gateway.database.parent.glob("gateway.db*"):
        assert b"callers-token" not in path.read_bytes()
        assert b"configured-token" not in path.read_bytes()


async def test_an_intent_without_an_outcome_is_unknown_and_tried_again(
    tmp_path: Path, provider: ScriptedProvider
) -> None:
    """What a crash left open is UNKNOWN: the next call is another attempt, and a refusal does not make it certain."""
    request = close(str(uuid4()))
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        # What the store holds when a gateway dies between the intent and the outcome.
        await gateway.store.begin_close(request.request_id, Target("lucky", "u"), datetime.now(UTC))
    provider.behaviour = answering(200, b'{"error":56}')
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(request)
        assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_REFUSED", "UNKNOWN")
        await gateway.gateway.close_service.drain()  # a failure is told first, and recorded then
        (line,) = await gateway.store.exchanges(request_id=request.request_id)
        assert (line.attempt, line.certainty) == (2, "REFUSED")


async def test_the_default_deadline_bounds_a_call_without_one(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A caller that sets no deadline is answered by the configured default."""
    provider.behaviour = hanging
    async with running_gateway(tmp_path, *sections(provider), grpc="default_deadline_s = 0.2") as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(close())
        assert told(raised.value).reason == "PROVIDER_TIMEOUT"


async def test_the_journal_tells_every_exchange(gateway: Running, provider: ScriptedProvider) -> None:
    """An exchange is kept with both sides as they travelled, secrets masked, its times and its attempt."""
    request = close(str(uuid4()), token="callers-token", reason="self-exclusion")
    await gateway.sessions.CloseSession(request)
    (line,) = await gateway.store.exchanges(request_id=request.request_id)
    assert (line.method, line.path, line.status, line.attempt) == ("POST", "/V4/CloseSession", 200, 1)
    assert line.request.body == provider.received[0].body.replace(b"callers-token", b"***")
    assert line.reply.body == SUCCESS
    assert json.loads(provider.received[0].body)["uuid"] == line.attempt_uuid
    assert line.started_at <= line.ended_at


@pytest.mark.parametrize("timeout_s", [0.001, 0.03, 0.06])
async def test_a_deadline_too_short_to_ask_leaves_no_trace(
    gateway: Running, provider: ScriptedProvider, timeout_s: float
) -> None:
    """A call without time to be sent is not sent, and does not make a later refusal uncertain."""
    request = close(str(uuid4()))
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.sessions.CloseSession(request, timeout=timeout_s)
    await gateway.gateway.close_service.drain()
    assert not provider.received
    assert await gateway.store.find_close(request.request_id) is None
    provider.behaviour = answering(200, b'{"error":56}')
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.sessions.CloseSession(request, timeout=5)
    assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_REFUSED", "REFUSED")


async def test_an_intent_that_comes_too_late_to_be_sent_is_concluded(gateway: Running) -> None:
    """Where the store takes an intent only after the caller has gone, it stands for an attempt that was not sent."""
    request = close(str(uuid4()))
    with locked(gateway.database):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(request, timeout=0.4)
        assert (told(raised.value).reason, told(raised.value).certainty) == ("STORE_UNAVAILABLE", "NOT_SENT")
    await gateway.gateway.close_service.drain()
    record = await gateway.store.find_close(request.request_id)
    assert record is not None
    assert (record.attempts, record.certainty) == (1, "NOT_SENT")
    assert not await gateway.store.exchanges(request_id=request.request_id)


async def test_a_success_outlives_its_provider(tmp_path: Path, provider: ScriptedProvider) -> None:
    """What was closed at a provider that is retired since is answered again as it was."""
    request = close(str(uuid4()))
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        first = await gateway.sessions.CloseSession(request)
    async with running_gateway(tmp_path, "[providers.lucky]\nretired = true") as gateway:
        again = await gateway.sessions.CloseSession(request)
        assert (again.replayed, again.end_time) == (True, first.end_time)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.sessions.CloseSession(close())
        assert told(raised.value).reason == "PROVIDER_UNKNOWN"


async def test_stopping_tells_a_caller_what_is_known(tmp_path: Path, provider: ScriptedProvider) -> None:
    """A gateway that stops while a provider hangs does not wait for the caller's deadline: the outcome is unknown."""
    provider.behaviour = hanging
    async with running_gateway(tmp_path, *sections(provider)) as gateway:
        calling = asyncio.ensure_future(gateway.sessions.CloseSession(close(), timeout=3600))
        await provider.arrived.wait()
        gateway.gateway.close_service.cap_deadlines(asyncio.get_running_loop().time() + 0.1)
        async with asyncio.timeout(5):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await calling
            assert (told(raised.value).reason, told(raised.value).certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await gateway.sessions.CloseSession(close(), timeout=3600)
            assert told(raised.value).certainty == "NOT_SENT"


async def test_a_hasty_caller_is_not_told_that_nothing_is_sent(gateway: Running, provider: ScriptedProvider) -> None:
    """A caller without time, whose request another one is having carried out, hears that it may be carried out."""
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request = close(str(uuid4()))
    patient = asyncio.ensure_future(gateway.sessions.CloseSession(request, timeout=10))
    await provider.arrived.wait()
    now = asyncio.get_running_loop().time()  # over gRPC such a caller's own timer could win
    with pytest.raises(GatewayError) as raised:
        await gateway.gateway.close_service.close(request.request_id, "lucky", CloseSession("u"), "", now)
    assert raised.value.certainty is Certainty.UNKNOWN
    release.set()
    assert (await patient).outcome == pb.OUTCOME_CLOSED


@pytest.mark.parametrize("provider_name", ["lucky", "nobody"], ids=["no time to ask", "not configured"])
async def test_a_slow_store_makes_no_refusal_late(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, provider_name: str
) -> None:
    """Whether a success is kept is looked up within the deadline, as all else."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gateway.store, "find_close", never)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (0.06 if provider_name == "lucky" else 0.3)
    async with asyncio.timeout_at(deadline):
        with pytest.raises(GatewayError):
            await gateway.gateway.close_service.close(str(uuid4()), provider_name, CloseSession("u"), "", deadline)
