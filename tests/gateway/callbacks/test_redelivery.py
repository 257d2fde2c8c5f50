"""A stored callback is processed again under the present configuration, and credited once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters.contract import Account, CallbackFault, CallbackRefused, HttpRequest, Result
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.routing import routes_of
from gateway.store.base import RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.models import THE_GATEWAY, EventType, Redelivery
from gateway.wallet.base import PostingOutcome
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    CallbackEndpoint,
    CallbackHarness,
    HarnessOptions,
    altered,
    clock,
    open_harness,
    provider,
)
from tests.support.actors import ADA
from tests.support.results import RESULT


@pytest.fixture
async def harness(tmp_path: Path, store_url: str) -> AsyncIterator[CallbackHarness]:
    """A harness on each engine in turn."""
    async with open_harness(tmp_path, HarnessOptions(url=store_url)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("opened", "fault"), [((), "ACCOUNT_UNKNOWN"), (("EUR",), "CURRENCY_MISMATCH")], ids=["unknown", "currency"]
)
async def test_once_the_account_is_open_a_redelivery_is_credited(
    harness: CallbackHarness, endpoint: CallbackEndpoint, opened: tuple[str, ...], fault: str
) -> None:
    """A Result refused for its account is credited by a redelivery, which resolves its item and records actor and
    reason.
    """
    for currency in opened:
        await harness.open_account(currency=currency)
    await harness.deliver(endpoint.path("Result"), RESULT)
    original = await harness.only_line(fault)
    (item,) = await harness.items()
    assert not harness.redeliveries.obstacle(original)
    await harness.open_account()
    line = await harness.redeliver(original)
    assert (line.verdict, line.redelivery, line.actor) == ("CREDITED", Redelivery(original.id, "fixed"), ADA)
    assert json.loads(line.reply.body)["error"] == 0
    assert await harness.cash() == 110
    assert not await harness.items()
    settled = await harness.store.find_item(item.id)
    assert settled is not None
    assert settled.resolution is not None
    assert settled.resolution.actor == THE_GATEWAY
    kept = await harness.store.exchange(line.id)
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
    assert await harness.store.exchange(original.id) == original
    again = await harness.deliver(endpoint.path("Result"), RESULT)
    assert again.json["transactionId"] == json.loads(line.reply.body)["transactionId"]
    assert await harness.cash() == 110
    assert await harness.event_types() == [EventType.RESULT_REFUSED, EventType.RESULT_CREDITED]


async def test_a_redelivery_masks_the_query_by_the_present_secrets(harness: CallbackHarness) -> None:
    """A value in the URL that has become a secret since the callback was stored is masked in the redelivery's line."""
    await harness.deliver(f"{MONACO.path('Result')}?note=became-a-secret&page=1", RESULT)
    original = await harness.only_line("ACCOUNT_UNKNOWN")
    assert original.path == "/callbacks/monaco/V4/Result?note=became-a-secret&page=1"
    harness.redeliveries.replace(routes_of([provider(MONACO.provider, LUCKYMONACO, ("became-a-secret",))]))
    line = await harness.redeliver(original)
    assert line.path == "/callbacks/monaco/V4/Result?note=***&page=1"
    assert (stored := await harness.store.exchange(line.id)) is not None
    assert stored.path == line.path


async def test_two_redeliveries_credit_once(harness: CallbackHarness) -> None:
    """The second redelivery answers the first one's transaction, and credits nothing."""
    await harness.deliver(MONACO.path("Result"), RESULT)
    original = await harness.only_line("ACCOUNT_UNKNOWN")
    await harness.open_account()
    answers = [json.loads((await harness.redeliver(original)).reply.body) for _ in range(2)]
    assert answers[0] == answers[1]
    assert await harness.cash() == 110


async def test_redeliveries_and_deliveries_at_once_credit_once(harness: CallbackHarness) -> None:
    """Concurrent redeliveries and deliveries of one Result make one transaction."""
    await harness.deliver(MONACO.path("Result"), RESULT)
    original = await harness.only_line("ACCOUNT_UNKNOWN")
    await harness.open_account()
    lines, replies = await asyncio.gather(
        asyncio.gather(*(harness.redeliver(original) for _ in range(16))),
        asyncio.gather(*(harness.deliver(MONACO.path("Result"), RESULT) for _ in range(16))),
    )
    answers = [json.loads(line.reply.body) for line in lines] + [reply.json for reply in replies]
    assert {answer["error"] for answer in answers} == {0}
    assert len({answer["transactionId"] for answer in answers}) == 1
    assert await harness.cash() == 110
    assert await harness.event_types() == [EventType.RESULT_REFUSED, EventType.RESULT_CREDITED]


async def test_a_redelivery_uses_the_present_configuration(tmp_path: Path) -> None:
    """A Result quarantined for a wrong secure_login is credited after a restart with the right one."""
    body = {**RESULT, "secureLogin": "partner-1"}
    async with open_harness(tmp_path, HarnessOptions(secure_login="misspelt")) as harness:
        await harness.open_account()
        await harness.deliver(MONACO.path("Result"), body)
        original = await harness.only_line("CREDENTIALS_WRONG")
        assert (await harness.redeliver(original)).verdict == "CREDENTIALS_WRONG"
        assert await harness.cash() == 100
    async with open_harness(tmp_path) as harness:
        assert (await harness.redeliver(original)).verdict == "CREDITED"
        assert await harness.cash() == 110


async def test_a_redelivered_expiry_is_one_event(tmp_path: Path) -> None:
    """Redelivered twice, a SessionExpired is accepted each time, with one event."""
    async with open_harness(tmp_path, HarnessOptions(secure_login="misspelt")) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "secureLogin": "partner-1"})
        original = await harness.only_line("CREDENTIALS_WRONG")
    async with open_harness(tmp_path) as harness:
        for _ in range(2):
            assert (await harness.redeliver(original)).verdict == "ACCEPTED"
        assert [event.type for event in await harness.events()] == [EventType.SESSION_EXPIRED]


@pytest.mark.parametrize("body", [b"{", b"null", b'{"a":1,"a":2}'])
async def test_an_unreadable_body_is_refused_again(harness: CallbackHarness, body: bytes) -> None:
    """A body that is not the dialect is 57 again, with another line of the journal."""
    await harness.deliver(MONACO.path("Result"), body)
    original = await harness.only_line("UNREADABLE")
    line = await harness.redeliver(original)
    assert (line.verdict, json.loads(line.reply.body)["error"]) == ("UNREADABLE", 57)
    assert line.detail
    assert [(kept.verdict, kept.request.body) for kept in await harness.journal()] == [("UNREADABLE", body)] * 2


async def test_a_repeated_refusal_makes_no_second_item(harness: CallbackHarness) -> None:
    """Redelivered before its cause is fixed, a Result is refused again, with one item and one event in all."""
    await harness.deliver(MONACO.path("Result"), RESULT)
    original = await harness.only_line("ACCOUNT_UNKNOWN")
    assert (await harness.redeliver(original)).verdict == "ACCOUNT_UNKNOWN"
    assert len(await harness.items()) == 1
    assert await harness.event_types() == [EventType.RESULT_REFUSED]


async def test_a_redelivery_is_one_line_in_the_log(harness: CallbackHarness) -> None:
    """The log line of a redelivery has both lines of the journal, the actor and the verdict."""
    await harness.deliver(MONACO.path("Result"), RESULT)
    original = await harness.only_line("ACCOUNT_UNKNOWN")
    with structlog.testing.capture_logs() as logged:
        line = await harness.redeliver(original)
    (record,) = logged
    assert (record["exchange_id"], record["redelivery_of"]) == (line.id, original.id)
    assert (record["actor"], record["on_behalf_of"]) == ("backoffice", "ada")
    assert (record["provider"], record["verdict"]) == ("monaco", "ACCOUNT_UNKNOWN")


class SlowWallet(BuiltinWallet):
    """It waits for `resume` before it credits."""

    resume: asyncio.Event

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        await self.resume.wait()
        return await super().credit(provider, result, records_of, ceiling)


async def test_a_redelivery_has_a_time_limit(tmp_path: Path) -> None:
    """Without an outcome in time a redelivery is TRY_AGAIN, and the next one returns the outcome."""
    resume = asyncio.Event()

    def wallet(store: Any) -> BuiltinWallet:
        slow = SlowWallet(store, clock)
        slow.resume = resume
        return slow

    resume.set()
    async with open_harness(tmp_path, HarnessOptions(wallet=wallet, time_limit_s=2.0)) as harness:
        await harness.deliver(MONACO.path("Result"), RESULT)
        original = await harness.only_line("ACCOUNT_UNKNOWN")
        await harness.open_account()
        resume.clear()
        line = await harness.redeliver(original)
        assert (line.verdict, json.loads(line.reply.body)["error"]) == ("TRY_AGAIN", 998)
        assert "2.0 s" in line.detail
        resume.set()
        assert (await harness.redeliver(original)).verdict == "CREDITED"
        assert await harness.cash() == 110


# --- The request ------------------------------------------------------------------------------------------------------


async def test_headers_and_query_are_redelivered(tmp_path: Path) -> None:
    """A redelivery has the headers and the query of the original."""

    def sealed(account: Account[Any], request: HttpRequest) -> None:
        headers = {name.lower(): value for name, value in request.headers}
        came = (headers.get("x-seal"), request.query) == ("a: b", (("version", "1 ü"), ("empty", "")))
        if not came or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "not sealed")

    adapter = altered(LUCKYMONACO, verify=sealed)
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter, secure_login="misspelt")) as harness:
        await harness.open_account()
        path = MONACO.path("Result") + "?version=1+%C3%BC&empty="
        await harness.deliver(path, RESULT, {"X-Seal": "a: b"})
        original = await harness.only_line("CREDENTIALS_WRONG")
    async with open_harness(tmp_path, HarnessOptions(adapter=adapter)) as harness:
        assert (await harness.redeliver(original)).verdict == "CREDITED"


async def test_a_masked_value_that_is_not_used_is_no_obstacle(tmp_path: Path) -> None:
    """A masked token that the dialect does not compare does not prevent a redelivery."""
    async with open_harness(tmp_path, HarnessOptions(secure_login="misspelt")) as harness:
        await harness.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "secureLogin": "partner-1"})
        original = await harness.only_line("CREDENTIALS_WRONG")
        assert b"***" in original.request.body
    async with open_harness(tmp_path) as harness:
        assert (await harness.redeliver(original)).verdict == "ACCEPTED"
