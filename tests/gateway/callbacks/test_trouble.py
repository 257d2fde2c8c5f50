"""Trouble on our side: the answer is 998, in time, and what was lost is credited when it is sent again."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from time import monotonic
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
from gateway.callbacks.auth import Address, CallbackAuthenticator
from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.masking.mask import Mask
from gateway.store.base import RecordsT
from gateway.store.models import EventType
from gateway.store.sqlite import SqliteStore
from gateway.wallet.base import PostingOutcome, WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SEND_AGAIN,
    Doorway,
    Furnishing,
    House,
    altered,
    clock,
    open_house,
)
from tests.support.results import RESULT

TROUBLED = ("callback", "warning", "TRY_AGAIN")


class Troubled(BuiltinWallet):
    """As troubled as a test wants it: it stops at `gate`, then raises `trouble`."""

    def __init__(self, store: SqliteStore, trouble: Exception | None = None) -> None:
        super().__init__(store, clock)
        self.trouble = trouble
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def credit(self, provider: str, result: Result, records_of: Callable[[PostingOutcome], RecordsT]) -> RecordsT:
        self.asked.set()
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        return await super().credit(provider, result, records_of)


async def assert_nothing_happened(house: House) -> None:
    assert await house.cash() == Decimal(100)
    assert not await house.events()
    assert not await house.items()


async def test_five_deliveries_at_once_pay_once(house: House, door: Doorway) -> None:
    """However many connections bring one Result at one moment, it is credited once and each gets the same answer."""
    await house.open_account()
    said = await asyncio.gather(*(house.deliver(door.path("Result"), RESULT) for _ in range(5)))
    assert {reply.body for reply in said} == {said[0].body}
    assert (said[0].json["error"], said[0].json["cash"]) == (0, Decimal(110))
    assert await house.cash() == Decimal(110)
    assert [event.type for event in await house.events()] == [EventType.RESULT_CREDITED]
    assert [line.verdict for line in await house.journal()] == ["CREDITED"] * 5


@pytest.mark.parametrize(
    ("operation", "body"),
    [("Result", RESULT), ("SessionExpired", EXPIRED), ("Result", b"not JSON"), ("Result", {"reference": "r"})],
)
async def test_a_locked_database_is_998_until_it_is_free(
    house: House, door: Doorway, operation: str, body: Any
) -> None:
    """While another process holds the database every callback is 998, refusals too; afterwards it is judged afresh."""
    await house.open_account()
    other = house.lock()
    with structlog.testing.capture_logs() as logged:
        for _ in range(2):
            said = await house.deliver(door.path(operation), body)
            assert (said.status, said.json) == (200, SEND_AGAIN)
    assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [TROUBLED] * 2
    other.close()
    await assert_nothing_happened(house)
    assert not await house.journal()

    said = await house.deliver(door.path(operation), body)
    assert said.json["error"] == (0 if body in (RESULT, EXPIRED) else 57 if body == b"not JSON" else 64)
    assert await house.cash() == (110 if body == RESULT else 100)
    assert len(await house.journal()) == 1


async def test_a_store_that_hangs_is_answered_within_four_seconds(tmp_path: Path) -> None:
    """With the default limit a store that does not answer costs 998 within 4 s; what it did later is not done twice."""
    async with open_house(tmp_path, Furnishing(busy_seconds=60)) as house:
        await house.open_account()
        other = house.lock()
        began = monotonic()
        with structlog.testing.capture_logs() as logged:
            said = await house.deliver(MONACO.path("Result"), RESULT)
        assert monotonic() - began < 4
        assert (said.status, said.json) == (200, SEND_AGAIN)
        assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [TROUBLED]
        assert logged[0]["error"] == f"no outcome within {TIME_LIMIT_S} s"
        other.close()
        assert (await house.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await house.cash() == Decimal(110)
        assert len(await house.events()) == 1
        first, *others = await house.journal()
        assert sorted([first.verdict, *(line.verdict for line in others)]) == ["CREDITED", "CREDITED", "TRY_AGAIN"]
        (late,) = [line for line in others if line.verdict == "TRY_AGAIN"]
        assert json.loads(late.reply.body) == SEND_AGAIN
        assert f"line {first.id} may be stored" in late.detail


@pytest.mark.parametrize("journalled", [True, False])
async def test_a_wallet_that_is_down_is_998_and_journalled(tmp_path: Path, journalled: bool) -> None:
    """WalletUnavailable is 998, a line of the journal, and an item until it is credited; a time-out, which may be the
    store's, is 998 alone.
    """
    trouble = WalletUnavailable("no connection") if journalled else TimeoutError()
    wallets: list[Troubled] = []

    def wallet(store: SqliteStore) -> Troubled:
        wallets.append(Troubled(store, trouble))
        wallets[0].gate.set()
        return wallets[0]

    async with open_house(tmp_path, Furnishing(wallet=wallet)) as house:
        await house.open_account()
        with structlog.testing.capture_logs() as logged:
            said = await house.deliver(MONACO.path("Result"), RESULT)
        assert (said.status, said.json) == (200, SEND_AGAIN)
        assert [(line["event"], line["log_level"], line["verdict"]) for line in logged] == [TROUBLED]
        assert await house.cash() == Decimal(100)
        assert not await house.events()
        lines = await house.journal()
        assert [(line.verdict, line.reply.body) for line in lines] == [("TRY_AGAIN", said.body)] * journalled
        assert [item.exchange_id for item in await house.items()] == [line.id for line in lines]
        wallets[0].trouble = None
        assert (await house.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await house.cash() == Decimal(110)
        assert not await house.items()


async def test_a_wallet_and_a_store_that_are_down_are_998(tmp_path: Path) -> None:
    """Where not even the journal can take it, a wallet's trouble is answered all the same, and is no bug."""

    def wallet(store: SqliteStore) -> Troubled:
        down = Troubled(store, WalletUnavailable("no connection"))
        down.gate.set()
        return down

    async with open_house(tmp_path, Furnishing(wallet=wallet)) as house:
        other = house.lock()
        with structlog.testing.capture_logs() as logged:
            assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        assert [line["event"] for line in logged] == ["callback not journalled", "callback"]
        other.close()


async def test_nothing_is_acknowledged_before_it_is_durable(tmp_path: Path) -> None:
    """While the effect is under way there is no answer; stopping waits for it, and the answer still goes out."""
    wallets: list[Troubled] = []

    def wallet(store: SqliteStore) -> Troubled:
        wallets.append(Troubled(store))
        return wallets[0]

    async with open_house(tmp_path, Furnishing(wallet=wallet)) as house:
        await house.open_account()
        delivery = asyncio.create_task(house.deliver(MONACO.path("Result"), RESULT))
        await wallets[0].asked.wait()
        stopping = asyncio.create_task(house.server.stop())
        done, _ = await asyncio.wait({delivery, stopping}, timeout=0.1)
        assert not done
        assert not house.server.accepting
        wallets[0].gate.set()
        assert (await delivery).json["error"] == 0
        await stopping
        assert await house.cash() == Decimal(110)


def bug(*_: object) -> NoReturn:
    raise ValueError("a body was quoted: " + MONACO.key)


def mute_on_success(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Rejected):
        return LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)
    raise KeyError(answer)


def unsendable_on_success(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    reply = LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)
    if isinstance(answer, Rejected):
        return reply
    return HttpReply(reply.status, (*reply.headers, ("Content-Length", str(len(reply.body)))), reply.body)


def surprise(account: Account[Any], request: HttpRequest) -> object:
    return Credited("neither", "of", Decimal(1))


@pytest.mark.parametrize(
    "parts",
    [
        {"verify": bug},
        {"decode": bug},
        {"decode": surprise},
        {"encode_reply": mute_on_success},
        {"encode_reply": unsendable_on_success},
    ],
    ids=["verify", "decode", "decodes to nonsense", "encode_reply", "encodes what cannot be sent"],
)
async def test_an_adapters_bug_is_998_with_an_error_id(tmp_path: Path, parts: dict[str, Any]) -> None:
    """A bug costs nobody a prize: 998, nothing credited, and log and journal hold one error id and no secret."""
    async with open_house(tmp_path, Furnishing(adapter=altered(LUCKYMONACO, **parts))) as house:
        await house.open_account()
        with structlog.testing.capture_logs() as logged:
            said = await house.deliver(MONACO.path("Result"), RESULT)
        assert (said.status, said.json) == (200, SEND_AGAIN)
        await assert_nothing_happened(house)
        failure, line = logged
        assert (failure["event"], failure["log_level"]) == ("gateway error", "error")
        assert failure["where"]
        assert failure["error_id"] in line["error"]
        (kept,) = await house.journal()
        assert kept.verdict == "TRY_AGAIN"
        assert failure["error_id"] in kept.detail
        assert MONACO.key not in repr(logged) + repr(kept)


async def test_an_adapter_that_cannot_even_refuse_is_answered_as_prepared(tmp_path: Path) -> None:
    """Where the adapter fails on every answer of the moment, the 998 encoded at the start is given."""
    spoken: list[CallbackAnswer] = []

    def mute_after_the_first(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
        spoken.append(answer)
        if len(spoken) > 2:
            raise RuntimeError
        return LUCKYMONACO.callbacks["V4/Result"].encode_reply(account, answer)

    adapter = altered(LUCKYMONACO, encode_reply=mute_after_the_first)
    async with open_house(tmp_path, Furnishing(adapter=adapter)) as house:
        for body in (RESULT, b"not JSON"):
            said = await house.deliver(MONACO.path("Result"), body)
            assert (said.status, said.json) == (200, SEND_AGAIN)


async def test_a_caller_that_leaves_without_its_answer_is_credited(tmp_path: Path) -> None:
    """A Result whose sender hangs up while it is credited is credited to the end, and answered when it comes again."""
    wallets: list[Troubled] = []

    def wallet(store: SqliteStore) -> Troubled:
        wallets.append(Troubled(store))
        return wallets[0]

    async with open_house(tmp_path, Furnishing(wallet=wallet)) as house, asyncio.timeout(5):
        await house.open_account()
        body = json.dumps(RESULT).encode()
        async with house.connect() as (_, writer):
            announced = f"POST {MONACO.path('Result')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(announced.encode() + body)
            await wallets[0].asked.wait()
        await house.deliver(MONACO.path("SessionExpired"), EXPIRED)  # by then the server has seen the other leave
        seen = await house.store.events_committed(-1)
        wallets[0].gate.set()
        await house.store.events_committed(seen)
        assert await house.cash() == Decimal(110)
        assert (await house.deliver(MONACO.path("Result"), RESULT)).json["error"] == 0
        assert await house.cash() == Decimal(110)


class BrokenMask(Mask):
    """A mask that fails on the head of a request."""

    def head(self, headers: Headers) -> str:
        if any(name.lower() == "host" for name, _ in headers):
            raise IndexError
        return super().head(headers)


class BrokenGuard(CallbackAuthenticator):
    """Ours, with a bug."""

    def authorize(self, provider: str, key: str, caller: Address | None) -> bool:
        raise IndexError


async def test_a_bug_of_ours_is_998_too(tmp_path: Path) -> None:
    """Behind the door every bug is answered in the dialect, and logged with an error id."""
    async with open_house(tmp_path, Furnishing(mask=BrokenMask)) as house:
        with structlog.testing.capture_logs() as logged:
            said = await house.deliver(MONACO.path("SessionExpired"), EXPIRED)
        assert (said.status, said.json) == (200, SEND_AGAIN)
        assert not await house.events()
        assert logged[0]["error"] == "IndexError"
        assert logged[0]["error_id"] in logged[1]["error"]


async def test_a_door_that_fails_stays_shut(tmp_path: Path) -> None:
    """A bug in judging who calls must admit nobody, and look like a door that was never there."""
    async with open_house(tmp_path, Furnishing(guard=BrokenGuard)) as house:
        said = await house.deliver(MONACO.path("SessionExpired"), EXPIRED)
        assert (said.status, said.body) == (404, b"")
        assert not await house.events()
