"""Redelivery: a kept callback goes the way of the original once more, is judged afresh, and pays once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters.contract import Account, CallbackFault, CallbackRefused, HttpRequest, Result
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.store.base import RecordsT
from gateway.store.models import EventType, Redelivery
from gateway.wallet.base import PostingOutcome
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    Doorway,
    Furnishing,
    House,
    altered,
    clock,
    open_house,
)
from tests.gateway.callbacks.redelivering import events_told, redelivered, refused
from tests.support.results import RESULT


@pytest.fixture
async def house(tmp_path: Path, store_url: str) -> AsyncIterator[House]:
    """A house on each engine in turn."""
    async with open_house(tmp_path, Furnishing(url=store_url)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("opened", "fault"), [((), "ACCOUNT_UNKNOWN"), (("EUR",), "CURRENCY_MISMATCH")], ids=["unknown", "currency"]
)
async def test_once_the_account_is_open_it_is_credited_once(
    house: House, door: Doorway, opened: tuple[str, ...], fault: str
) -> None:
    """Refused for its account, redelivered it is credited, settles its item, and leaves a line with who and why."""
    for currency in opened:
        await house.open_account(currency=currency)
    await house.deliver(door.path("Result"), RESULT)
    original = await refused(house, fault)
    (item,) = await house.items()
    assert not house.redeliveries.obstacle(original)
    await house.open_account()
    line = await redelivered(house, original)
    assert (line.verdict, line.redelivery) == ("CREDITED", Redelivery(original.id, "ada", "mended"))
    assert json.loads(line.reply.body)["error"] == 0
    assert await house.cash() == 110
    assert not await house.items()
    settled = await house.store.find_item(item.id)
    assert settled is not None
    assert settled.resolution is not None
    assert settled.resolution.actor == ""
    kept = await house.store.exchange(line.id)
    assert kept is not None
    assert (kept.verdict, kept.redelivery, kept.request, kept.peer) == (
        "CREDITED",
        line.redelivery,
        original.request,
        original.peer,
    )
    assert (kept.provider, kept.operation, kept.method, kept.path) == (
        original.provider,
        original.operation,
        original.method,
        original.path,
    )
    assert await house.store.exchange(original.id) == original
    again = await house.deliver(door.path("Result"), RESULT)
    assert again.json["transactionId"] == json.loads(line.reply.body)["transactionId"]
    assert await house.cash() == 110
    assert await events_told(house) == [EventType.RESULT_REFUSED, EventType.RESULT_CREDITED]


async def test_redelivered_twice_it_pays_once(house: House) -> None:
    """The second redelivery answers the first one's transaction, and credits nothing."""
    await house.deliver(MONACO.path("Result"), RESULT)
    original = await refused(house, "ACCOUNT_UNKNOWN")
    await house.open_account()
    answers = [json.loads((await redelivered(house, original)).reply.body) for _ in range(2)]
    assert answers[0] == answers[1]
    assert await house.cash() == 110


async def test_at_the_same_moment_as_the_providers_own_it_pays_once(house: House) -> None:
    """Redeliveries and the provider's deliveries of one Result, all at once, make one transaction."""
    await house.deliver(MONACO.path("Result"), RESULT)
    original = await refused(house, "ACCOUNT_UNKNOWN")
    await house.open_account()
    lines, said = await asyncio.gather(
        asyncio.gather(*(redelivered(house, original) for _ in range(16))),
        asyncio.gather(*(house.deliver(MONACO.path("Result"), RESULT) for _ in range(16))),
    )
    answers = [json.loads(line.reply.body) for line in lines] + [answer.json for answer in said]
    assert {answer["error"] for answer in answers} == {0}
    assert len({answer["transactionId"] for answer in answers}) == 1
    assert await house.cash() == 110
    assert await events_told(house) == [EventType.RESULT_REFUSED, EventType.RESULT_CREDITED]


async def test_a_mended_configuration_is_what_it_is_judged_by(tmp_path: Path) -> None:
    """Quarantined for a wrong secure_login of ours, it is credited after a restart with the right one."""
    told = {**RESULT, "secureLogin": "partner-1"}
    async with open_house(tmp_path, Furnishing(secure_login="misspelt")) as house:
        await house.open_account()
        await house.deliver(MONACO.path("Result"), told)
        original = await refused(house, "CREDENTIALS_WRONG")
        assert (await redelivered(house, original)).verdict == "CREDENTIALS_WRONG"
        assert await house.cash() == 100
    async with open_house(tmp_path) as house:
        assert (await redelivered(house, original)).verdict == "CREDITED"
        assert await house.cash() == 110


async def test_an_expiry_is_accepted_and_told_once(tmp_path: Path) -> None:
    """A SessionExpired is redelivered as a Result is: accepted, and one event however often."""
    async with open_house(tmp_path, Furnishing(secure_login="misspelt")) as house:
        await house.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "secureLogin": "partner-1"})
        original = await refused(house, "CREDENTIALS_WRONG")
    async with open_house(tmp_path) as house:
        for _ in range(2):
            assert (await redelivered(house, original)).verdict == "ACCEPTED"
        assert [event.type for event in await house.events()] == [EventType.SESSION_EXPIRED]


@pytest.mark.parametrize("body", [b"{", b"null", b'{"a":1,"a":2}'])
async def test_what_cannot_be_read_is_refused_again_and_kept(house: House, body: bytes) -> None:
    """A body that is not the dialect stays so: 57 again, and another line of the journal."""
    await house.deliver(MONACO.path("Result"), body)
    original = await refused(house, "UNREADABLE")
    line = await redelivered(house, original)
    assert (line.verdict, json.loads(line.reply.body)["error"]) == ("UNREADABLE", 57)
    assert line.detail
    assert [(kept.verdict, kept.request.body) for kept in await house.journal()] == [("UNREADABLE", body)] * 2


async def test_a_refusal_again_makes_no_second_item(house: House) -> None:
    """Redelivered before its cause is mended it is refused again, and there is still one item and one event of it."""
    await house.deliver(MONACO.path("Result"), RESULT)
    original = await refused(house, "ACCOUNT_UNKNOWN")
    assert (await redelivered(house, original)).verdict == "ACCOUNT_UNKNOWN"
    assert len(await house.items()) == 1
    assert await events_told(house) == [EventType.RESULT_REFUSED]


async def test_one_line_of_the_log_says_who_did_it(house: House) -> None:
    """A redelivery is logged with both lines of the journal, who did it and what it came to."""
    await house.deliver(MONACO.path("Result"), RESULT)
    original = await refused(house, "ACCOUNT_UNKNOWN")
    with structlog.testing.capture_logs() as logged:
        line = await redelivered(house, original)
    (said,) = logged
    assert (said["exchange_id"], said["redelivery_of"], said["actor"]) == (line.id, original.id, "ada")
    assert (said["provider"], said["verdict"]) == ("monaco", "ACCOUNT_UNKNOWN")


class SlowWallet(BuiltinWallet):
    """Credits once it is let."""

    let: asyncio.Event

    async def credit(self, provider: str, result: Result, records_of: Callable[[PostingOutcome], RecordsT]) -> RecordsT:
        await self.let.wait()
        return await super().credit(provider, result, records_of)


async def test_a_wallet_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    """Without an outcome in time a redelivery comes to TRY_AGAIN, and the next one finds out."""
    let = asyncio.Event()

    def wallet(store: Any) -> BuiltinWallet:
        slow = SlowWallet(store, clock)
        slow.let = let
        return slow

    let.set()
    async with open_house(tmp_path, Furnishing(wallet=wallet, time_limit_s=0.1)) as house:
        await house.deliver(MONACO.path("Result"), RESULT)
        original = await refused(house, "ACCOUNT_UNKNOWN")
        await house.open_account()
        let.clear()
        line = await redelivered(house, original)
        assert (line.verdict, json.loads(line.reply.body)["error"]) == ("TRY_AGAIN", 998)
        assert "0.1 s" in line.detail
        let.set()
        assert (await redelivered(house, original)).verdict == "CREDITED"
        assert await house.cash() == 110


# --- As it came -------------------------------------------------------------------------------------------------------


async def test_headers_and_query_are_delivered_as_they_came(tmp_path: Path) -> None:
    """A dialect that reads a header and the query finds them in a redelivery as it did in the original."""

    def sealed(account: Account[Any], request: HttpRequest) -> None:
        headers = {name.lower(): value for name, value in request.headers}
        came = (headers.get("x-seal"), request.query) == ("a: b", (("version", "1 ü"), ("empty", "")))
        if not came or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "not sealed")

    adapter = altered(LUCKYMONACO, verify=sealed)
    async with open_house(tmp_path, Furnishing(adapter=adapter, secure_login="misspelt")) as house:
        await house.open_account()
        path = MONACO.path("Result") + "?version=1+%C3%BC&empty="
        await house.deliver(path, RESULT, {"X-Seal": "a: b"})
        original = await refused(house, "CREDENTIALS_WRONG")
    async with open_house(tmp_path, Furnishing(adapter=adapter)) as house:
        assert (await redelivered(house, original)).verdict == "CREDITED"


async def test_a_masked_value_that_nobody_reads_is_no_obstacle(tmp_path: Path) -> None:
    """A player's token is kept masked; where the dialect does not compare it, that changes nothing."""
    async with open_house(tmp_path, Furnishing(secure_login="misspelt")) as house:
        await house.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "secureLogin": "partner-1"})
        original = await refused(house, "CREDENTIALS_WRONG")
        assert b"***" in original.request.body
    async with open_house(tmp_path) as house:
        assert (await redelivered(house, original)).verdict == "ACCEPTED"
