"""A close is tried again where that may help: within its deadline, within the budget, and never less certain for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from gateway.outbound.retry import RetryBudget
from gateway.sessions import close_execution
from gateway.store.base import StoreUnavailable
from gateway.store.models import ItemFilter
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, Told, family_table, running_gateway, told
from tests.support.provider import (
    Behaviour,
    ScriptedProvider,
    answering,
    answering_after,
    hanging,
    resetting,
    scripted_provider,
)
from tests.support.waiting import until

THRICE = "{ attempts = 3, backoff_s = 0.01 }"
REFUSED = b'{"error":56}'

Scene = tuple[Running, ScriptedProvider]


@asynccontextmanager
async def scene(folder: Path, **more: str) -> AsyncIterator[Scene]:
    """A gateway with one provider, which it asks up to three times."""
    async with scripted_provider() as provider:
        section = family_table("lucky", "luckymonaco", provider.base_url, **{"retry": THRICE, **more})
        async with running_gateway(folder, section) as gateway:
            yield gateway, provider


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as found:
        yield found


def close() -> pb.CloseSessionRequest:
    return pb.CloseSessionRequest(request_id=str(uuid4()), provider="lucky", user_id="u")


def one_after_the_other(*behaviours: Behaviour) -> Behaviour:
    """Each for one request, the last for all that follow."""
    left = list(behaviours)

    async def behave(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return behave


async def fails(gateway: Running, request: pb.CloseSessionRequest, timeout_s: float = 10) -> Told:
    failure = await fails_at_once(gateway, request, timeout_s)
    await gateway.gateway.close_service.drain()  # a failure is told first, and recorded then
    return failure


async def fails_at_once(gateway: Running, request: pb.CloseSessionRequest, timeout_s: float) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.sessions.CloseSession(request, timeout=timeout_s)
    return told(raised.value)


@pytest.mark.parametrize(
    "first",
    [answering(503), answering(429), answering(200, b'{"error":998}'), resetting],
    ids=["503", "429", "998", "connection lost"],
)
async def test_what_may_pass_is_tried_again(house: Scene, first: Behaviour) -> None:
    """The caller hears of the success alone; the journal tells each attempt, with a uuid of its own."""
    gateway, provider = house
    provider.behaviour = one_after_the_other(first, first, answering())
    request = close()
    answer = await gateway.sessions.CloseSession(request)
    assert (answer.outcome, answer.replayed) == (pb.OUTCOME_CLOSED, False)
    lines = await gateway.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict == "CLOSED") for line in lines] == [(1, False), (2, False), (3, True)]
    assert [json.loads(received.body)["uuid"] for received in provider.received] == [
        line.attempt_uuid for line in lines
    ]
    assert len({line.attempt_uuid for line in lines}) == 3
    assert not (await gateway.store.items(ItemFilter())).entries


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
async def test_what_will_not_pass_is_not(house: Scene, behaviour: Behaviour) -> None:
    """A refusal stands, and an answer that is not the dialect is for a person to look at."""
    gateway, provider = house
    provider.behaviour = behaviour
    assert not (await fails(gateway, close())).retry
    assert len(provider.received) == 1


async def test_attempts_are_bounded(house: Scene) -> None:
    """The last one's reason is told, with what it says."""
    gateway, provider = house
    provider.behaviour = one_after_the_other(resetting, resetting, answering(503))
    failure = await fails(gateway, close())
    assert (failure.reason, failure.certainty, failure.retry) == ("PROVIDER_FAILED", "UNKNOWN", True)
    assert len(provider.received) == 3


async def test_certainty_is_that_of_all_attempts(house: Scene) -> None:
    """A later attempt that was refused does not prove that the first was not carried out."""
    gateway, provider = house
    provider.behaviour = one_after_the_other(resetting, answering(200, REFUSED))
    failure = await fails(gateway, close())
    assert (failure.reason, failure.certainty) == ("PROVIDER_REFUSED", "UNKNOWN")


async def test_what_was_never_sent_stays_so(tmp_path: Path) -> None:
    """A provider that cannot be reached is tried three times, and nothing was sent."""
    section = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", retry=THRICE)
    async with running_gateway(tmp_path, section) as gateway:
        request = close()
        failure = await fails(gateway, request)
        assert (failure.reason, failure.certainty) == ("PROVIDER_UNREACHABLE", "NOT_SENT")
        lines = await gateway.store.exchanges(request_id=request.request_id)
        assert [(line.attempt, line.certainty) for line in lines] == [(n, "NOT_SENT") for n in (1, 2, 3)]


async def test_closing_twice_is_up_to_the_adapter(tmp_path: Path) -> None:
    """Where it does not say that closing is idempotent, an unknown outcome is not tried again; what is certain is."""
    async with scene(tmp_path) as (gateway, provider):
        forbid_repeating(gateway)
        provider.behaviour = resetting
        await fails(gateway, close())
        assert len(provider.received) == 1
        provider.behaviour = answering(429)
        await fails(gateway, close())
        assert len(provider.received) == 1 + 3


def forbid_repeating(gateway: Running) -> None:
    """Have the provider's adapter say that closing is not idempotent."""
    providers = gateway.gateway.providers
    adapter = providers["lucky"].adapter
    assert adapter.close_session is not None
    once = replace(adapter, close_session=replace(adapter.close_session, idempotent=False))
    providers.replace({"lucky": replace(providers["lucky"], adapter=once)})


async def test_a_hang_is_cut_where_another_attempt_has_time(tmp_path: Path) -> None:
    """`attempt_timeout_s` bounds one attempt, and not the call."""
    async with scene(tmp_path, limits="{ attempt_timeout_s = 0.15 }") as (gateway, provider):
        provider.behaviour = one_after_the_other(hanging, hanging, answering())
        answer = await gateway.sessions.CloseSession(close(), timeout=10)
        assert answer.outcome == pb.OUTCOME_CLOSED
        assert len(provider.received) == 3


@pytest.mark.parametrize("timeout_s", [0.3, 0.6])
async def test_the_deadline_is_over_all_attempts(tmp_path: Path, timeout_s: float) -> None:
    """Nobody is answered late because of another attempt, and none begins that has no time."""
    async with scene(tmp_path, limits="{ attempt_timeout_s = 0.15 }") as (gateway, provider):
        provider.behaviour = hanging
        loop = asyncio.get_running_loop()
        begun = loop.time()
        failure = await fails(gateway, close(), timeout_s)
        assert loop.time() - begun < timeout_s + 0.05
        assert (failure.reason, failure.certainty) == ("PROVIDER_TIMEOUT", "UNKNOWN")
        assert len(provider.received) < 4


async def test_a_provider_that_asks_to_be_left_alone_is(house: Scene) -> None:
    """Retry-After is waited for where there is time, and told to the caller where there is not."""
    gateway, provider = house
    provider.behaviour = one_after_the_other(answering(429, headers={"Retry-After": "0"}), answering())
    assert (await gateway.sessions.CloseSession(close())).outcome == pb.OUTCOME_CLOSED
    provider.received.clear()
    provider.behaviour = answering(429, headers={"Retry-After": "120"})
    failure = await fails(gateway, close())
    assert (failure.certainty, failure.retry_after_s) == ("REFUSED", 120)
    assert len(provider.received) == 1


async def test_all_calls_share_a_budget(house: Scene) -> None:
    """Where everything fails, the provider gets a fifth more, and ten a second: not three times as much."""
    gateway, provider = house
    provider.behaviour = answering(503)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.gather(*(fails(gateway, close()) for _ in range(40)))
    assert 40 < len(provider.received) <= 1.2 * 40 + 10 * max(1, loop.time() - begun)


async def test_a_call_counts_once_for_the_budget(house: Scene) -> None:
    """However often it is tried, and not at all where it is answered from what is kept."""
    gateway, provider = house
    gate = gateway.gateway.close_service._providers["lucky"].admission
    gate.budget = counted = CountedBudget(monotonic)
    provider.behaviour = one_after_the_other(answering(503), answering(503), answering())
    request = close()
    for _ in range(2):
        await gateway.sessions.CloseSession(request)
    assert (counted.calls, counted.spent) == (1, 2)


class CountedBudget(RetryBudget):
    """Counts what it is asked."""

    calls = spent = 0

    def deposit(self) -> None:
        self.calls += 1
        super().deposit()

    def try_withdraw(self) -> bool:
        self.spent += 1
        return super().try_withdraw()


@pytest.mark.parametrize(
    ("behaviour", "certainty"), [(resetting, "UNKNOWN"), (answering(429), "REFUSED")], ids=["unknown", "refused"]
)
async def test_a_bug_between_attempts_proves_nothing(
    house: Scene, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, certainty: str
) -> None:
    """What the attempt before it left unknown stays so, and what it left certain too."""
    gateway, provider = house
    provider.behaviour = behaviour

    def broken(*_: object) -> float:
        monkeypatch.setattr(gateway.gateway.close_service._carrying, "_clock", None)
        return 0.0

    monkeypatch.setattr(close_execution, "backoff_s", broken)
    failure = await fails(gateway, close())
    assert (failure.reason, failure.certainty) == ("GATEWAY_ERROR", certainty)
    assert len(provider.received) == 1


async def test_a_hasty_caller_hears_of_the_attempt_that_was_made(house: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another is waited for; and since that may still be carried out, nothing is certain for it."""
    gateway, provider = house
    monkeypatch.setattr(close_execution, "backoff_s", lambda *_: 1.5)
    provider.behaviour = one_after_the_other(answering(429), answering())
    request = close()
    patient = asyncio.ensure_future(gateway.sessions.CloseSession(request, timeout=20))
    await until(partial(recorded, gateway, request))
    failure = await fails_at_once(gateway, request, 0.5)
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
    assert (await patient).outcome == pb.OUTCOME_CLOSED


async def test_nothing_is_tried_again_for_nobody(house: Scene) -> None:
    """Where all who asked have hung up, what was sent is recorded, and that is all."""
    gateway, provider = house
    release = asyncio.Event()

    async def fail_later(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    provider.behaviour = fail_later
    request = close()
    await hang_up(gateway, request, provider.arrived.wait)
    release.set()
    await gateway.gateway.close_service.drain()
    lines = await gateway.store.exchanges(request_id=request.request_id)
    assert [(line.attempt, line.verdict) for line in lines] == [(1, "PROVIDER_FAILED")]


async def test_hanging_up_between_attempts_ends_them(tmp_path: Path) -> None:
    """A call that waits for its next attempt does not make it for nobody."""
    async with scene(tmp_path, retry="{ attempts = 3, backoff_s = 30, max_backoff_s = 30 }") as (gateway, provider):
        provider.behaviour = answering(503)
        request = close()

        async def waits_to_try_again() -> None:
            await until(partial(recorded, gateway, request))

        await hang_up(gateway, request, waits_to_try_again, timeout_s=60)
        async with asyncio.timeout(5):
            await gateway.gateway.close_service.drain()
        record = await gateway.store.find_close(request.request_id)
        assert record is not None
        assert (len(provider.received), record.attempts) == (1, 1)


async def test_an_attempt_that_could_not_be_recorded_is_the_last(house: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to a provider stands in the journal, or nothing more is sent."""
    gateway, provider = house

    async def down(*_: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(gateway.store, "fail_close", down)
    provider.behaviour = answering(503)
    assert (await fails(gateway, close())).reason == "PROVIDER_FAILED"
    assert len(provider.received) == 1


async def test_a_store_that_fails_between_attempts_ends_them(house: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an intent nothing is sent, and the caller hears of the attempt that was made."""
    gateway, provider = house
    begin = gateway.store.begin_close

    async def once(*args: Any) -> Any:
        monkeypatch.setattr(gateway.store, "begin_close", down)
        return await begin(*args)

    async def down(*_: object) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(gateway.store, "begin_close", once)
    provider.behaviour = answering(503)
    failure = await fails(gateway, close())
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "UNKNOWN")
    assert len(provider.received) == 1


async def test_what_was_sent_is_recorded_for_nobody(house: Scene) -> None:
    """A caller that hangs up while the provider works finds the outcome under its request_id."""
    gateway, provider = house
    release = asyncio.Event()
    provider.behaviour = answering_after(release)
    request = close()
    await hang_up(gateway, request, provider.arrived.wait)
    release.set()
    await gateway.gateway.close_service.drain()
    provider.behaviour = answering(500)
    again = await gateway.sessions.CloseSession(request)
    assert (again.outcome, again.replayed) == (pb.OUTCOME_CLOSED, True)


async def hang_up(
    gateway: Running, request: pb.CloseSessionRequest, when: Callable[[], Awaitable[object]], timeout_s: float = 10
) -> None:
    """Call, and cancel the call at a moment; returns once the gateway knows of it."""
    calling = gateway.sessions.CloseSession(request, timeout=timeout_s)
    await when()
    flight = gateway.gateway.close_service._flights[request.request_id]
    calling.cancel()
    await until(lambda: not flight.has_waiters)


async def recorded(gateway: Running, request: pb.CloseSessionRequest) -> bool:
    return bool(await gateway.store.exchanges(request_id=request.request_id))
