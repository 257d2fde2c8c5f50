"""Failures of the gateway are answered 998 in time, and the callback is credited when it is sent again."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from adapters.contract import (
    Account,
    CallbackAnswer,
    Credited,
    Headers,
    HttpReply,
    HttpRequest,
    Rejected,
    Result,
)
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.auth import CallbackAuthenticator
from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.masking.mask import Mask
from gateway.store.base import RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.models import EventType
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.sources import Address
from gateway.wallet.base import PostingOutcome, WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    CallbackEndpoint,
    CallbackHarness,
    HarnessOptions,
    altered,
    clock,
    open_harness,
)
from tests.support.results import RESULT
from tests.support.waiting import until

FAILED = ("callback", "warning", "TRY_AGAIN")


class FailingWallet(BuiltinWallet):
    """It waits for `resume`, then raises `error`, if any."""

    def __init__(self, store: SqliteStore, error: Exception | None = None) -> None:
        super().__init__(store, clock)
        self.error = error
        self.called = asyncio.Event()
        self.resume = asyncio.Event()

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        self.called.set()
        await self.resume.wait()
        if self.error is not None:
            raise self.error
        return await super().credit(provider, result, records_of, ceiling)


async def assert_nothing_happened(harness: CallbackHarness) -> None:
    assert await harness.cash() == Decimal(100)
    assert not await harness.events()
    assert not await harness.items()


async def test_five_concurrent_deliveries_credit_once(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """Five concurrent deliveries of one Result are credited once and get the same reply."""
    await harness.open_account()
    replies = await asyncio.gather(*(harness.deliver(endpoint.path("Result"), RESULT) for _ in range(5)))
    assert {each.body for each in replies} == {replies[0].body}
    assert (replies[0].json["error"], replies[0].json["cash"]) == (0, Decimal(110))
    assert await harness.cash() == Decimal(110)
    assert [event.type for event in await harness.events()] == [EventType.RESULT_CREDITED]
    assert [line.verdict for line in await harness.journal()] == ["CREDITED"] * 5


@pytest.mark.parametrize(
    ("operation", "body"),
    [("Result", RESULT), ("SessionExpired", EXPIRED), ("Result", b"not JSON"), ("Result", {"reference": "r"})],
)
async def test_a_locked_database_is_998_until_it_is_unlocked(
    harness: CallbackHarness, endpoint: CallbackEndpoint, operation: str, body: Any
) -> None:
    """While the database is locked every callback is 998, refusals too; afterwards it is processed again."""
    await harness.open_account()
    other = harness.lock()
    with structlog.testing.capture_logs() as logged:
        for _ in range(2):
            reply = await harness.deliver(endpoint.path(operation), body)
            assert (reply.status, reply.json) == (200, SEND_AGAIN)
    assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [FAILED] * 2
    other.close()
    await assert_nothing_happened(harness)
    assert not await harness.journal()

    reply = await harness.deliver(endpoint.path(operation), body)
    assert reply.json["error"] == (0 if body in (RESULT, EXPIRED) else 57 if body == b"not JSON" else 64)
    assert await harness.cash() == (110 if body == RESULT else 100)
    assert len(await harness.journal()) == 1


async def test_a_store_that_hangs_is_998_after_the_time_limit(tmp_path: Path) -> None:
    """With the default limit a store that hangs is 998 after it, and what it commits later is not credited twice."""
    async with open_harness(tmp_path, HarnessOptions(busy_seconds=60)) as harness:
        await harness.open_account()
        other = harness.lock()
        with structlog.testing.capture_logs() as logged:
            reply = await harness.deliver(MONACO.path("Result"), RESULT)
        assert (reply.status, reply.json) == (200, SEND_AGAIN)
        assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [FAILED]
        assert logged[0]["error"] == f"no outcome within {TIME_LIMIT_S} s"
        other.close()
        assert (await harness.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await harness.cash() == Decimal(110)
        assert len(await harness.events()) == 1
        first, *others = await harness.journal()
        assert sorted([first.verdict, *(line.verdict for line in others)]) == ["CREDITED", "CREDITED", "TRY_AGAIN"]
        (late,) = [line for line in others if line.verdict == "TRY_AGAIN"]
        assert json.loads(late.reply.body) == SEND_AGAIN
        assert f"line {first.id} may be stored" in late.detail


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_wallet_that_is_down_is_998_and_recorded(tmp_path: Path, recorded: bool) -> None:
    """WalletUnavailable is 998 with a line and an item until it is credited; a TimeoutError, which may be the
    store's, is 998 alone.
    """
    error = WalletUnavailable("no connection") if recorded else TimeoutError()
    wallets: list[FailingWallet] = []

    def wallet(store: SqliteStore) -> FailingWallet:
        wallets.append(FailingWallet(store, error))
        wallets[0].resume.set()
        return wallets[0]

    async with open_harness(tmp_path, HarnessOptions(wallet=wallet)) as harness:
        await harness.open_account()
        with structlog.testing.capture_logs() as logged:
            reply = await harness.deliver(MONACO.path("Result"), RESULT)
        assert (reply.status, reply.json) == (200, SEND_AGAIN)
        assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [FAILED]
        assert await harness.cash() == Decimal(100)
        assert not await harness.events()
        lines = await harness.journal()
        assert [(line.verdict, line.reply.body) for line in lines] == [("TRY_AGAIN", reply.body)] * recorded
        assert [item.exchange_id for item in await harness.items()] == [line.id for line in lines]
        wallets[0].error = None
        assert (await harness.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await harness.cash() == Decimal(110)
        assert not await harness.items()


async def test_a_wallet_and_a_store_that_are_down_are_998(tmp_path: Path) -> None:
    """If the journal cannot record a failure of the wallet, it is answered 998 all the same, and is no bug."""

    def wallet(store: SqliteStore) -> FailingWallet:
        down = FailingWallet(store, WalletUnavailable("no connection"))
        down.resume.set()
        return down

    async with open_harness(tmp_path, HarnessOptions(wallet=wallet)) as harness:
        other = harness.lock()
        with structlog.testing.capture_logs() as logged:
            assert (await harness.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        assert [line["event"] for line in logged] == ["callback not journalled", "callback"]
        other.close()


async def test_nothing_is_acknowledged_before_it_is_durable(tmp_path: Path) -> None:
    """There is no reply before the commit; a stop waits for it, and the reply is still sent."""
    wallets: list[FailingWallet] = []

    def wallet(store: SqliteStore) -> FailingWallet:
        wallets.append(FailingWallet(store))
        return wallets[0]

    async with open_harness(tmp_path, HarnessOptions(wallet=wallet)) as harness:
        await harness.open_account()
        delivery = asyncio.create_task(harness.deliver(MONACO.path("Result"), RESULT))
        await wallets[0].called.wait()
        stopping = asyncio.create_task(harness.server.stop())
        await until(lambda: not harness.server.accepting)
        await harness.store.ping()
        assert not delivery.done()
        assert not stopping.done()
        wallets[0].resume.set()
        assert (await delivery).json["error"] == 0
        await stopping
        assert await harness.cash() == Decimal(110)


def bug(*_: object) -> NoReturn:
    raise ValueError("it quotes a body: " + MONACO.key)


def fails_on_success(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Rejected):
        return LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)
    raise KeyError(answer)


def unsendable_on_success(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    reply = LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)
    if isinstance(answer, Rejected):
        return reply
    return HttpReply(reply.status, (*reply.headers, ("Content-Length", str(len(reply.body)))), reply.body)


def decodes_to_an_answer(account: Account[Any], request: HttpRequest) -> object:
    return Credited("neither", "of", Decimal(1))


@pytest.mark.parametrize(
    "parts",
    [
        {"verify": bug},
        {"decode": bug},
        {"decode": decodes_to_an_answer},
        {"encode_reply": fails_on_success},
        {"encode_reply": unsendable_on_success},
    ],
    ids=["verify", "decode", "decodes to an answer", "encode_reply", "encodes an invalid header"],
)
async def test_an_adapter_s_bug_is_998_with_an_error_id(tmp_path: Path, parts: dict[str, Any]) -> None:
    """After a bug nothing is credited, and log and journal have the same error id and no secret."""
    async with open_harness(tmp_path, HarnessOptions(adapter=altered(LUCKYMONACO, **parts))) as harness:
        await harness.open_account()
        with structlog.testing.capture_logs() as logged:
            reply = await harness.deliver(MONACO.path("Result"), RESULT)
        assert (reply.status, reply.json) == (200, SEND_AGAIN)
        await assert_nothing_happened(harness)
        failure, line = logged
        assert (failure["event"], failure["log_level"]) == ("gateway error", "error")
        assert failure["traceback"]
        assert failure["error_id"] in line["error"]
        (kept,) = await harness.journal()
        assert kept.verdict == "TRY_AGAIN"
        assert failure["error_id"] in kept.detail
        assert MONACO.key not in repr(logged) + repr(kept)


async def test_an_adapter_that_encodes_nothing_has_a_prepared_reply(tmp_path: Path) -> None:
    """If the adapter fails on every reply, the 998 that was encoded at the start is sent."""
    encoded: list[CallbackAnswer] = []

    def fails_after_the_start(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
        encoded.append(answer)
        if len(encoded) > 2:
            raise RuntimeError
        return LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)

    adapter = altered(LUCKYMONACO, encode_reply=fails_after_the_start)
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter)) as harness:
        for body in (RESULT, b"not JSON"):
            reply = await harness.deliver(MONACO.path("Result"), body)
            assert (reply.status, reply.json) == (200, SEND_AGAIN)


async def test_a_caller_that_disconnects_is_credited(tmp_path: Path) -> None:
    """A Result whose caller disconnects during the credit is credited, and answered when it is sent again."""
    wallets: list[FailingWallet] = []

    def wallet(store: SqliteStore) -> FailingWallet:
        wallets.append(FailingWallet(store))
        return wallets[0]

    async with open_harness(tmp_path, HarnessOptions(wallet=wallet)) as harness, asyncio.timeout(30):
        await harness.open_account()
        body = json.dumps(RESULT).encode()
        async with harness.connect() as (_, writer):
            head = f"POST {MONACO.path('Result')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await wallets[0].called.wait()
        await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)  # by then the server has seen the disconnection
        seen = await harness.store.events_committed(-1)
        wallets[0].resume.set()
        await harness.store.events_committed(seen)
        assert await harness.cash() == Decimal(110)
        assert (await harness.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await harness.cash() == Decimal(110)


class BrokenMask(Mask):
    """A mask that fails on the head of a request."""

    def head(self, headers: Headers) -> str:
        if any(name.lower() == "host" for name, _ in headers):
            raise IndexError
        return super().head(headers)


class BrokenAuthenticator(CallbackAuthenticator):
    """An authenticator with a bug."""

    def authorize(self, provider: str, key: str, caller: Address | None) -> bool:
        raise IndexError


async def test_a_bug_of_the_gateway_is_998(tmp_path: Path) -> None:
    """After authentication every bug is answered in the dialect, and logged with an error id."""
    async with open_harness(tmp_path, HarnessOptions(mask=BrokenMask)) as harness:
        with structlog.testing.capture_logs() as logged:
            reply = await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)
        assert (reply.status, reply.json) == (200, SEND_AGAIN)
        assert not await harness.events()
        assert logged[0]["error_type"] == "IndexError"
        assert logged[0]["error_id"] in logged[1]["error"]


async def test_a_bug_in_authentication_is_404(tmp_path: Path) -> None:
    """If authentication fails with a bug, the caller gets the 404 of an unknown path, and nothing is processed."""
    async with open_harness(tmp_path, HarnessOptions(authenticator=BrokenAuthenticator)) as harness:
        reply = await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)
        assert (reply.status, reply.body) == (404, b"")
        assert not await harness.events()
