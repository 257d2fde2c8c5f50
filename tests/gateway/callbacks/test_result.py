"""The Result column of the callback table in the design, over HTTP."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.store.models import EventType
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SUCCESS,
    UNREADABLE,
    CallbackEndpoint,
    CallbackHarness,
    HarnessOptions,
    open_harness,
)
from tests.support.results import RESULT

REFERENCE = str(RESULT["reference"])


def changed(**members: Any) -> dict[str, Any]:
    return {**RESULT, **members}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in RESULT.items() if name not in names}


async def test_a_result_is_credited_and_recorded(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """A Result changes the balance, is answered 0 with the balance, and leaves one event and one journal line."""
    await harness.open_account()
    reply = await harness.deliver(endpoint.path("Result"), RESULT)
    assert reply.status == 200
    transaction_id = reply.json.pop("transactionId")
    assert transaction_id
    assert reply.json == {"currency": "USD", "cash": Decimal(110), **SUCCESS}
    assert await harness.cash() == Decimal(110)

    (event,) = await harness.events()
    assert (event.type, event.provider, event.user_id) == (EventType.RESULT_CREDITED, endpoint.provider, "421")
    assert event.reference == REFERENCE
    (line,) = await harness.journal()
    assert (line.verdict, line.provider, line.operation) == (
        "CREDITED",
        endpoint.provider,
        f"{endpoint.version}/Result",
    )
    assert (line.method, line.path) == ("POST", f"/callbacks/{endpoint.provider}/{endpoint.version}/Result")
    assert (line.status, line.reply.body, line.peer) == (200, reply.body, "127.0.0.1")
    assert line.started_at <= line.ended_at == event.time
    assert not await harness.items()


async def test_a_repeated_result_is_answered_with_the_present_balance(
    harness: CallbackHarness, endpoint: CallbackEndpoint
) -> None:
    """A repeated Result is answered with its first transaction and the present balance, and credits nothing."""
    await harness.open_account()
    first = await harness.deliver(endpoint.path("Result"), RESULT)
    await harness.deliver(endpoint.path("Result"), changed(reference="another", amount="5.5"))
    again = await harness.deliver(endpoint.path("Result"), changed(amount="10.00", uuid="another", timestamp="0"))
    assert again.json == {**first.json, "cash": Decimal("115.5")}
    assert await harness.cash() == Decimal("115.5")
    assert [event.reference for event in await harness.events()] == [REFERENCE, "another"]
    assert [line.verdict for line in await harness.journal()] == ["CREDITED"] * 3


@pytest.mark.parametrize(
    ("members", "field", "reply_field"),
    [
        ({"amount": 11}, "amount", "amount"),
        ({"userId": "422"}, "user_id", "userId"),
        ({"currency": "EUR"}, "currency", "currency"),
        ({"roundid": "5103188802"}, "round_id", "roundId"),
        ({"gameId": "another"}, "game_id", "gameId"),
        ({"promoWinAmount": "1", "promoWinReference": "prize"}, "promo_amount", "promoWinAmount"),
    ],
)
async def test_a_reference_with_other_content_is_refused(
    harness: CallbackHarness, endpoint: CallbackEndpoint, members: dict[str, Any], field: str, reply_field: str
) -> None:
    """A known reference with other content is 999, changes nothing, and leaves an item naming the field."""
    await harness.open_account()
    await harness.open_account("422")
    await harness.open_account(currency="EUR")
    await harness.deliver(endpoint.path("Result"), RESULT)
    for _ in range(2):
        reply = await harness.deliver(endpoint.path("Result"), changed(**members))
        description = f"Reference already used with another '{reply_field}'"
        assert (reply.status, reply.json) == (200, {"error": 999, "description": description})

    assert [await harness.cash(), await harness.cash("422"), await harness.cash(currency="EUR")] == [110, 100, 100]
    (item,) = await harness.items()
    assert (item.provider, item.reference, item.fault, item.field) == (
        endpoint.provider,
        REFERENCE,
        "REFERENCE_REUSED",
        field,
    )
    assert item.user_id == members.get("userId", "421")
    refused = (await harness.journal())[1:]
    assert item.exchange_id == refused[0].id
    assert item.detail == refused[0].detail
    assert [line.verdict for line in refused] == ["REFERENCE_REUSED"] * 2
    types = [event.type for event in await harness.events()]
    assert types == [EventType.RESULT_CREDITED, EventType.RESULT_REFUSED]


async def test_a_result_of_a_closed_session_is_credited(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """A Result for a session that expired, or that is unknown, is credited as any other."""
    await harness.open_account()
    session = {"sessionId": EXPIRED["sessionId"]}
    await harness.deliver(endpoint.path("SessionExpired"), {**EXPIRED, "userId": "421"})
    assert (await harness.deliver(endpoint.path("Result"), changed(**session))).json["error"] == 0
    assert (await harness.deliver(endpoint.path("Result"), changed(reference="r2", sessionId="unheard"))).json[
        "error"
    ] == 0
    assert await harness.cash() == Decimal(120)


@pytest.mark.parametrize(
    ("currency", "description", "refused"),
    [
        (None, "Player not found", (62, "ACCOUNT_UNKNOWN", "user_id")),
        ("EUR", "Currency is not the player's", (52, "CURRENCY_MISMATCH", "currency")),
    ],
)
async def test_a_result_without_an_account_is_refused_until_it_is_opened(
    harness: CallbackHarness,
    endpoint: CallbackEndpoint,
    currency: str | None,
    description: str,
    refused: tuple[int, str, str],
) -> None:
    """It is 62 or 52 with an item, and the same delivery is credited once the account is open."""
    code, fault, field = refused
    if currency:
        await harness.open_account(currency=currency)
    for _ in range(2):
        reply = await harness.deliver(endpoint.path("Result"), RESULT)
        assert (reply.status, reply.json) == (200, {"error": code, "description": description})
    (item,) = await harness.items()
    assert (item.reference, item.fault, item.field, item.user_id) == (REFERENCE, fault, field, "421")
    assert [event.type for event in await harness.events()] == [EventType.RESULT_REFUSED]
    assert [line.verdict for line in await harness.journal()] == [fault] * 2

    await harness.open_account()
    assert (await harness.deliver(endpoint.path("Result"), RESULT)).json["error"] == 0
    assert await harness.cash() == Decimal(110)
    assert not await harness.items()
    assert [event.type for event in await harness.events()][-1] == EventType.RESULT_CREDITED


@pytest.mark.parametrize("name", [name for name in RESULT if name not in ("reference", "roundid")] + ["roundId"])
async def test_a_missing_field_is_named(harness: CallbackHarness, endpoint: CallbackEndpoint, name: str) -> None:
    """A missing field is 64, which names it, changes nothing, and leaves an item if the reference is readable."""
    await harness.open_account()
    reply = await harness.deliver(endpoint.path("Result"), without(name, name.replace("roundId", "roundid")))
    assert (reply.status, reply.json) == (200, {"error": 64, "description": f"Empty mandatory field '{name}'"})
    (item,) = await harness.items()
    assert (item.reference, item.fault, item.field) == (REFERENCE, "FIELD_MISSING", name)
    (event,) = await harness.events()
    assert (event.type, event.reference) == (EventType.RESULT_REFUSED, REFERENCE)
    (line,) = await harness.journal()
    assert (line.verdict, line.id) == ("FIELD_MISSING", item.exchange_id)
    assert await harness.cash() == Decimal(100)


async def test_a_result_without_reference_leaves_no_item(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """A Result without reference is recorded in the journal each time, and nowhere else."""
    for _ in range(2):
        reply = await harness.deliver(endpoint.path("Result"), without("reference"))
        assert reply.json == {"error": 64, "description": "Empty mandatory field 'reference'"}
    assert [line.verdict for line in await harness.journal()] == ["FIELD_MISSING"] * 2
    assert not await harness.items()
    assert not await harness.events()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"amount": NaN}',
        b'{"reference": ',
        b'{"reference": ["a"]}x',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)
async def test_an_unreadable_body_is_57(harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes) -> None:
    """A body that is not JSON, or is too deep, is 57 and recorded; without a reference it has no item."""
    reply = await harness.deliver(endpoint.path("Result"), body)
    assert (reply.status, reply.json) == (200, UNREADABLE)
    (line,) = await harness.journal()
    assert line.verdict == "UNREADABLE"
    assert line.detail
    assert not await harness.items()


_TEXT = json.dumps(RESULT)


@pytest.mark.parametrize(
    "body",
    [
        _TEXT[:-2].encode(),
        _TEXT.replace('"amount"', '"currency"').encode(),
        _TEXT.replace('"reference"', '"reference": "second", "reference"').encode(),
        _TEXT.replace('"uuid"', '"x": NaN, "uuid"').encode(),
        _TEXT.replace('"uuid"', '"x": ' + "[" * 40 + "]" * 40 + ', "uuid"').encode(),
        _TEXT.replace('"', "'").encode(),
        _TEXT.encode("utf-16"),
        _TEXT.encode() + b"\xff",
        urlencode(RESULT).encode(),
        _TEXT.encode() + b" " * 70_000,
        _TEXT.replace('"uuid"', f'"x": "{"x" * 70_000}", "uuid"').encode(),
    ],
    ids=[
        *("cut off", "duplicate", "duplicate reference", "NaN", "deep", "single quotes", "UTF-16", "not UTF-8", "form"),
        *("too large", "too large and cut off"),
    ],
)
async def test_an_unreadable_body_with_a_reference_leaves_an_item(
    harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes
) -> None:
    """A final refusal is found by its reference, once however often it comes; nothing is credited."""
    await harness.open_account()
    for _ in range(2):
        reply = await harness.deliver(endpoint.path("Result"), body)
        assert (reply.status, reply.json) == (200, UNREADABLE)
    (item,) = await harness.items()
    assert (item.fault, item.user_id) == ("UNREADABLE", "421")
    assert item.reference == ("second" if b"second" in body else REFERENCE)
    assert await harness.cash() == Decimal(100)


@pytest.mark.parametrize(
    ("reference", "seen"),
    [(5.5, "5.5"), (-5, "-5"), ("a\nb", "a\ufffdb"), ("\ud800", "\ufffd"), ("x" * 300, "x" * 255)],
)
async def test_a_malformed_reference_leaves_an_item(
    harness: CallbackHarness, endpoint: CallbackEndpoint, reference: object, seen: str
) -> None:
    """A reference in any form is enough to find the Result by."""
    reply = await harness.deliver(endpoint.path("Result"), changed(reference=reference))
    assert reply.json["error"] == 57
    (item,) = await harness.items()
    assert (item.fault, item.field, item.reference) == ("FIELD_MALFORMED", "reference", seen)


@pytest.mark.parametrize("amount", ["1.0E7", "10000000", "1e7", "100000000e-1", "1.0E+07"])
async def test_an_amount_in_any_form_of_a_number_is_credited_once(
    harness: CallbackHarness, endpoint: CallbackEndpoint, amount: str
) -> None:
    """Java writes 10000000 as 1.0E7: it is the same Result, and the answer has plain digits."""
    await harness.open_account()
    body = json.dumps(changed(amount="A", userId=421, roundid=5103188801)).replace('"A"', amount).encode()
    reply = await harness.deliver(endpoint.path("Result"), b"\xef\xbb\xbf" + body)
    assert b'"cash":10000100,' in reply.body
    plain = await harness.deliver(endpoint.path("Result"), changed(amount=10_000_000, roundid="5103188801"))
    assert plain.json["transactionId"] == reply.json["transactionId"]
    assert await harness.cash() == Decimal(10_000_100)


@pytest.mark.parametrize("place", ["{key}//{path}", "{key}/{path}/", "{key}///{path}//"])
async def test_an_empty_segment_of_the_path_is_skipped(
    harness: CallbackHarness, endpoint: CallbackEndpoint, place: str
) -> None:
    """A slash too many in the vendor's settings keeps no Result out."""
    await harness.open_account()
    start, _, rest = endpoint.path("Result").partition(f"/{endpoint.version}/")
    before, _, key = start.rpartition("/")
    path = f"{before}/{place.format(key=key, path=f'{endpoint.version}/{rest}')}"
    assert (await harness.deliver(path, RESULT)).json["error"] == 0


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"userId": True}, "userId"),
        ({"currency": "usd"}, "currency"),
        ({"gameId": "x" * 256}, "gameId"),
        ({"roundId": "5103188801"}, "roundId"),
        ({"amount": [10]}, "amount"),
        ({"promoWinAmount": 1, "promoWinReference": "prize\u200b"}, "promoWinReference"),
    ],
)
async def test_a_malformed_field_is_57(
    harness: CallbackHarness, endpoint: CallbackEndpoint, members: dict[str, Any], field: str
) -> None:
    """A wrong type or form, and roundId with roundid, are 57 with an item, and nothing is credited."""
    await harness.open_account()
    reply = await harness.deliver(endpoint.path("Result"), changed(**members))
    assert (reply.status, reply.json["error"]) == (200, 57)
    (item,) = await harness.items()
    assert (item.fault, item.field, item.reference) == ("FIELD_MALFORMED", field, REFERENCE)
    assert await harness.cash() == Decimal(100)


@pytest.mark.parametrize("amount", ["-1", "1e2", "01", "1." + "0" * 19, "NaN", "1_0", "٣", " 5 ", "9" * 33, -1])
async def test_a_malformed_amount_is_59(harness: CallbackHarness, amount: Any) -> None:
    """An amount that is not in the money form is 59 with an item, and nothing is credited."""
    await harness.open_account()
    reply = await harness.deliver(MONACO.path("Result"), changed(amount=amount))
    assert (reply.status, reply.json["error"]) == (200, 59)
    (item,) = await harness.items()
    assert (item.fault, item.field) == ("AMOUNT_INVALID", "amount")
    assert await harness.cash() == Decimal(100)


async def test_wrong_credentials_are_quarantined(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """Wrong credentials are 54, recorded in the journal, and have no other effect, in either callback."""
    await harness.open_account()
    wrong = {"error": 54, "description": "Wrong secureLogin"}
    for operation, body in (("Result", RESULT), ("SessionExpired", EXPIRED)):
        reply = await harness.deliver(endpoint.path(operation), {**body, "secureLogin": "somebody"})
        assert (reply.status, reply.json) == (200, wrong)
    assert [line.verdict for line in await harness.journal()] == ["CREDENTIALS_WRONG"] * 2
    assert not await harness.items()
    assert not await harness.events()
    assert await harness.cash() == Decimal(100)
    assert (await harness.deliver(endpoint.path("Result"), changed(secureLogin="partner-1"))).json["error"] == 0


@pytest.mark.parametrize("reference", [" ref", "ref ", "r\u200bef", "ref\u202e", "\ufeffref", "ref\u2029"])
async def test_an_invisible_reference_is_57(
    harness: CallbackHarness, endpoint: CallbackEndpoint, reference: str
) -> None:
    """A reference that looks like another one is malformed, and its item has it as it came."""
    await harness.open_account()
    reply = await harness.deliver(endpoint.path("Result"), changed(reference=reference))
    assert reply.json == {"error": 57, "description": "Invalid parameter 'reference'"}
    (item,) = await harness.items()
    assert (item.fault, item.field, item.reference) == ("FIELD_MALFORMED", "reference", reference)
    assert await harness.cash() == Decimal(100)


@pytest.mark.parametrize("size", [8 * 1024, 60 * 1024])
async def test_a_body_of_many_values_is_57(harness: CallbackHarness, endpoint: CallbackEndpoint, size: int) -> None:
    """It is refused before its values are read."""
    body = b'{"roundDetails":[' + b"1," * (size // 2) + b"1]}"
    reply = await harness.deliver(endpoint.path("Result"), body)
    assert (reply.status, reply.json) == (200, UNREADABLE)
    assert "more than 2000 values" in (await harness.only_line("UNREADABLE")).detail


async def test_a_required_secure_login_is_refused_where_it_is_absent(tmp_path: Path) -> None:
    """With require_secure_login a callback without it is 54, as with a wrong one; with it, it is accepted."""
    wrong = {"error": 54, "description": "Wrong secureLogin"}
    async with open_harness(tmp_path, HarnessOptions(require_secure_login=True)) as harness:
        await harness.open_account()
        for operation, body in (("Result", RESULT), ("SessionExpired", EXPIRED)):
            for login in ({}, {"secureLogin": None}, {"secureLogin": ""}, {"secureLogin": "partner-2"}):
                assert (await harness.deliver(MONACO.path(operation), {**body, **login})).json == wrong
            assert (await harness.deliver(MONACO.path(operation), {**body, "secureLogin": "partner-1"})).json[
                "error"
            ] == 0
        assert await harness.cash() == Decimal(110)


async def test_a_promotional_prize_is_a_second_credit(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """A prize with amount and reference is credited too; one of both alone is 64, and a known reference refuses all."""
    await harness.open_account()
    prize = {"promoWinAmount": "2.5", "promoWinReference": "prize-1"}
    alone = await harness.deliver(endpoint.path("Result"), changed(promoWinAmount="2.5"))
    assert alone.json == {"error": 64, "description": "Empty mandatory field 'promoWinReference'"}
    reply = await harness.deliver(endpoint.path("Result"), changed(**prize))
    assert (reply.json["error"], reply.json["cash"]) == (0, Decimal("112.5"))
    reused = await harness.deliver(endpoint.path("Result"), changed(**prize, reference="r2", roundid="2"))
    assert reused.json["error"] == 999
    assert await harness.cash() == Decimal("112.5")


async def test_money_is_answered_without_an_exponent(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """Eighteen decimal places are credited and answered exactly, in plain digits."""
    await harness.open_account(opening="0")
    reply = await harness.deliver(endpoint.path("Result"), changed(amount="0.000000000000000001"))
    assert b'"cash":0.000000000000000001,' in reply.body
    assert await harness.cash() == Decimal("1E-18")
