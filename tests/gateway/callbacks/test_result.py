"""The Result column of the design's callback table, through the wire."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.store.models import EventType
from tests.gateway.callbacks.harness import EXPIRED, KYREN_EU, MONACO, SUCCESS, UNREADABLE, Doorway, House
from tests.support.results import RESULT

REFERENCE = str(RESULT["reference"])


def changed(**members: Any) -> dict[str, Any]:
    return {**RESULT, **members}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in RESULT.items() if name not in names}


async def test_a_result_is_credited_once_with_all_that_tells_of_it(house: House, door: Doorway) -> None:
    """A Result must change the balance, answer 0 with the balance, and leave one event and one journal line."""
    await house.open_account()
    said = await house.deliver(door.path("Result"), RESULT)
    assert said.status == 200
    transaction_id = said.json.pop("transactionId")
    assert transaction_id
    assert said.json == {"currency": "USD", "cash": Decimal(110), **SUCCESS}
    assert await house.cash() == Decimal(110)

    (event,) = await house.events()
    assert (event.type, event.provider, event.user_id) == (EventType.RESULT_CREDITED, door.provider, "421")
    assert event.reference == REFERENCE
    (line,) = await house.journal()
    assert (line.verdict, line.provider, line.operation) == ("CREDITED", door.provider, f"{door.version}/Result")
    assert (line.method, line.path) == ("POST", f"/callbacks/{door.provider}/{door.version}/Result")
    assert (line.status, line.reply.body, line.peer) == (200, said.body, "127.0.0.1")
    assert line.started_at <= line.ended_at == event.time
    assert not await house.items()


async def test_the_same_again_is_answered_with_the_balance_now(house: House, door: Doorway) -> None:
    """Sent again, a Result must answer its first transaction and the present balance, and credit nothing."""
    await house.open_account()
    first = await house.deliver(door.path("Result"), RESULT)
    await house.deliver(door.path("Result"), changed(reference="another", amount="5.5"))
    again = await house.deliver(door.path("Result"), changed(amount="10.00", uuid="another", timestamp="0"))
    assert again.json == {**first.json, "cash": Decimal("115.5")}
    assert await house.cash() == Decimal("115.5")
    assert [event.reference for event in await house.events()] == [REFERENCE, "another"]
    assert [line.verdict for line in await house.journal()] == ["CREDITED"] * 3


@pytest.mark.parametrize(
    ("members", "field", "said_field"),
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
    house: House, door: Doorway, members: dict[str, Any], field: str, said_field: str
) -> None:
    """A known reference with other content must answer 999, change nothing, and leave an item naming the field."""
    await house.open_account()
    await house.open_account("422")
    await house.open_account(currency="EUR")
    await house.deliver(door.path("Result"), RESULT)
    for _ in range(2):
        said = await house.deliver(door.path("Result"), changed(**members))
        description = f"Reference already used with another '{said_field}'"
        assert (said.status, said.json) == (200, {"error": 999, "description": description})

    assert [await house.cash(), await house.cash("422"), await house.cash(currency="EUR")] == [110, 100, 100]
    (item,) = await house.items()
    assert (item.provider, item.reference, item.fault, item.field) == (
        door.provider,
        REFERENCE,
        "REFERENCE_REUSED",
        field,
    )
    assert item.user_id == members.get("userId", "421")
    refused = (await house.journal())[1:]
    assert item.exchange_id == refused[0].id
    assert item.detail == refused[0].detail
    assert [line.verdict for line in refused] == ["REFERENCE_REUSED"] * 2
    types = [event.type for event in await house.events()]
    assert types == [EventType.RESULT_CREDITED, EventType.RESULT_REFUSED]


async def test_a_session_that_is_over_is_paid_all_the_same(house: House, door: Doorway) -> None:
    """A Result for a session that expired, or that nobody heard of, must be credited as any other."""
    await house.open_account()
    session = {"sessionId": EXPIRED["sessionId"]}
    await house.deliver(door.path("SessionExpired"), {**EXPIRED, "userId": "421"})
    assert (await house.deliver(door.path("Result"), changed(**session))).json["error"] == 0
    assert (await house.deliver(door.path("Result"), changed(reference="r2", sessionId="unheard"))).json["error"] == 0
    assert await house.cash() == Decimal(120)


@pytest.mark.parametrize(
    ("currency", "said_of_it", "refused"),
    [
        (None, "Player not found", (62, "ACCOUNT_UNKNOWN", "user_id")),
        ("EUR", "Currency is not the player's", (52, "CURRENCY_MISMATCH", "currency")),
    ],
)
async def test_a_player_without_a_fitting_account_is_refused_until_it_is_opened(
    house: House, door: Doorway, currency: str | None, said_of_it: str, refused: tuple[int, str, str]
) -> None:
    """62 or 52 with an item for a person; and the same delivery must be credited once the account is there."""
    code, fault, field = refused
    if currency:
        await house.open_account(currency=currency)
    for _ in range(2):
        said = await house.deliver(door.path("Result"), RESULT)
        assert (said.status, said.json) == (200, {"error": code, "description": said_of_it})
    (item,) = await house.items()
    assert (item.reference, item.fault, item.field, item.user_id) == (REFERENCE, fault, field, "421")
    assert [event.type for event in await house.events()] == [EventType.RESULT_REFUSED]
    assert [line.verdict for line in await house.journal()] == [fault] * 2

    await house.open_account()
    assert (await house.deliver(door.path("Result"), RESULT)).json["error"] == 0
    assert await house.cash() == Decimal(110)
    assert not await house.items()
    assert [event.type for event in await house.events()][-1] == EventType.RESULT_CREDITED


@pytest.mark.parametrize("name", [name for name in RESULT if name not in ("reference", "roundid")] + ["roundId"])
async def test_a_missing_field_is_named(house: House, door: Doorway, name: str) -> None:
    """64 must name the field, change nothing, and leave an item where the reference could be read."""
    await house.open_account()
    said = await house.deliver(door.path("Result"), without(name, name.replace("roundId", "roundid")))
    assert (said.status, said.json) == (200, {"error": 64, "description": f"Empty mandatory field '{name}'"})
    (item,) = await house.items()
    assert (item.reference, item.fault, item.field) == (REFERENCE, "FIELD_MISSING", name)
    (event,) = await house.events()
    assert (event.type, event.reference) == (EventType.RESULT_REFUSED, REFERENCE)
    (line,) = await house.journal()
    assert (line.verdict, line.id) == ("FIELD_MISSING", item.exchange_id)
    assert await house.cash() == Decimal(100)


async def test_without_its_reference_a_result_leaves_no_item(house: House, door: Doorway) -> None:
    """What cannot be told apart by a reference must be in the journal only, as often as it came."""
    for _ in range(2):
        said = await house.deliver(door.path("Result"), without("reference"))
        assert said.json == {"error": 64, "description": "Empty mandatory field 'reference'"}
    assert [line.verdict for line in await house.journal()] == ["FIELD_MISSING"] * 2
    assert not await house.items()
    assert not await house.events()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"reference": "a", "reference": "b"}',
        b'{"amount": NaN}',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)
async def test_what_is_not_the_dialect_is_57(house: House, door: Doorway, body: bytes) -> None:
    """Not JSON, duplicate keys, too deep: 57, HTTP 200, kept in the journal, and no item."""
    said = await house.deliver(door.path("Result"), body)
    assert (said.status, said.json) == (200, UNREADABLE)
    (line,) = await house.journal()
    assert line.verdict == "UNREADABLE"
    assert line.detail
    assert not await house.items()


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"userId": 421}, "userId"),
        ({"currency": "usd"}, "currency"),
        ({"gameId": "x" * 256}, "gameId"),
        ({"roundId": "5103188801"}, "roundId"),
        ({"amount": [10]}, "amount"),
    ],
)
async def test_a_field_of_the_wrong_form_is_57(
    house: House, door: Doorway, members: dict[str, Any], field: str
) -> None:
    """A wrong type or form, and roundId beside roundid: 57 with an item, and nothing credited."""
    await house.open_account()
    said = await house.deliver(door.path("Result"), changed(**members))
    assert (said.status, said.json["error"]) == (200, 57)
    (item,) = await house.items()
    assert (item.fault, item.field, item.reference) == ("FIELD_MALFORMED", field, REFERENCE)
    assert await house.cash() == Decimal(100)


@pytest.mark.parametrize("amount", ["-1", "1e2", "01", "1." + "0" * 19, "NaN", "1_0", "٣", " 5 ", "9" * 33, -1])
async def test_an_amount_that_is_not_money_is_59(house: House, amount: Any) -> None:
    """An amount of another form: 59 with an item, and nothing credited."""
    await house.open_account()
    said = await house.deliver(MONACO.path("Result"), changed(amount=amount))
    assert (said.status, said.json["error"]) == (200, 59)
    (item,) = await house.items()
    assert (item.fault, item.field) == ("AMOUNT_INVALID", "amount")
    assert await house.cash() == Decimal(100)


async def test_wrong_credentials_are_quarantined(house: House, door: Doorway) -> None:
    """54: the message is kept in the journal under its fault, and nothing else happens, in either callback."""
    await house.open_account()
    wrong = {"error": 54, "description": "Wrong secureLogin"}
    for operation, body in (("Result", RESULT), ("SessionExpired", EXPIRED)):
        said = await house.deliver(door.path(operation), {**body, "secureLogin": "somebody"})
        assert (said.status, said.json) == (200, wrong)
    assert [line.verdict for line in await house.journal()] == ["CREDENTIALS_WRONG"] * 2
    assert not await house.items()
    assert not await house.events()
    assert await house.cash() == Decimal(100)
    assert (await house.deliver(door.path("Result"), changed(secureLogin="partner-1"))).json["error"] == 0


async def test_a_promotional_prize_is_credited_beside_the_win(house: House, door: Doorway) -> None:
    """Amount and reference of a prize make a second credit; one alone is 64; its reference reused refuses all."""
    await house.open_account()
    prize = {"promoWinAmount": "2.5", "promoWinReference": "prize-1"}
    alone = await house.deliver(door.path("Result"), changed(promoWinAmount="2.5"))
    assert alone.json == {"error": 64, "description": "Empty mandatory field 'promoWinReference'"}
    said = await house.deliver(door.path("Result"), changed(**prize))
    assert (said.json["error"], said.json["cash"]) == (0, Decimal("112.5"))
    reused = await house.deliver(door.path("Result"), changed(**prize, reference="r2", roundid="2"))
    assert reused.json["error"] == 999
    assert await house.cash() == Decimal("112.5")


async def test_a_loss_is_a_result_too(house: House, door: Doorway) -> None:
    """An amount of 0 must be applied, answered and told as any other."""
    await house.open_account()
    said = await house.deliver(door.path("Result"), changed(amount=0))
    assert (said.json["error"], said.json["cash"]) == (0, Decimal(100))
    assert [event.type for event in await house.events()] == [EventType.RESULT_CREDITED]


async def test_money_is_answered_without_an_exponent(house: House, door: Doorway) -> None:
    """Eighteen digits after the point must be credited and answered exactly, in plain digits."""
    await house.open_account(opening="0")
    said = await house.deliver(door.path("Result"), changed(amount="0.000000000000000001"))
    assert b'"cash":0.000000000000000001,' in said.body
    assert await house.cash() == Decimal("1E-18")


async def test_references_belong_to_their_provider(house: House) -> None:
    """Two providers that use the same reference must both be credited."""
    await house.open_account()
    first = await house.deliver(MONACO.path("Result"), RESULT)
    second = await house.deliver(KYREN_EU.path("Result"), RESULT)
    assert first.json["transactionId"] != second.json["transactionId"]
    assert await house.cash() == Decimal(120)
