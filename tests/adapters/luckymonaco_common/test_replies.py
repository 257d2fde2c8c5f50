"""Our replies: HTTP 200, the dialect's code, and money with every digit."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Accepted, CallbackAnswer, CallbackFault, Credited, Rejected
from adapters.luckymonaco_common.replies import encode_reply
from tests.adapters.luckymonaco_common.messages import ACCOUNT, AMOUNTS

CODES = {
    CallbackFault.UNREADABLE: 57,
    CallbackFault.CREDENTIALS_WRONG: 54,
    CallbackFault.FIELD_MISSING: 64,
    CallbackFault.FIELD_MALFORMED: 57,
    CallbackFault.AMOUNT_INVALID: 59,
    CallbackFault.AMOUNT_ABOVE_LIMIT: 999,
    CallbackFault.REFERENCE_REUSED: 999,
    CallbackFault.ACCOUNT_UNKNOWN: 62,
    CallbackFault.CURRENCY_MISMATCH: 52,
    CallbackFault.TRY_AGAIN: 998,
}


def _body(answer: CallbackAnswer) -> str:
    reply = encode_reply(ACCOUNT, answer)
    assert (reply.status, reply.headers) == (200, (("Content-Type", "application/json"),))
    return reply.body.decode()


def test_accepted() -> None:
    """As the document prints it, the code a number."""
    assert _body(Accepted()) == '{"error":0,"description":"Success"}'


@pytest.mark.parametrize("fault", CallbackFault)
@pytest.mark.parametrize("field", ["", "userId"])
def test_every_fault_has_its_code(fault: CallbackFault, field: str) -> None:
    """Each fault has its code and a description, and no other member."""
    members = json.loads(_body(Rejected(fault, field)))
    assert (members.pop("error"), bool(members.pop("description")), members) == (CODES[fault], True, {})


@pytest.mark.parametrize("fault", [CallbackFault.FIELD_MISSING, CallbackFault.FIELD_MALFORMED])
def test_the_field_at_fault_is_named(fault: CallbackFault) -> None:
    """The description names the field at fault."""
    assert "'roundDetails'" in _body(Rejected(fault, "roundDetails"))


@pytest.mark.parametrize(
    ("core", "dialect"),
    [
        ("user_id", "userId"),
        ("amount", "amount"),
        ("currency", "currency"),
        ("round_id", "roundId"),
        ("game_id", "gameId"),
        ("promo_amount", "promoWinAmount"),
        ("promo_reference", "promoWinReference"),
    ],
)
def test_a_reused_reference_names_the_dialects_field(core: str, dialect: str) -> None:
    """The field that differs has the dialect's name."""
    members = json.loads(_body(Rejected(CallbackFault.REFERENCE_REUSED, core)))
    assert f"'{dialect}'" in members["description"]
    assert core == dialect or core not in members["description"]


@given(AMOUNTS, st.none() | AMOUNTS)
def test_balances_are_written_with_every_digit(cash: str, bonus: str | None) -> None:
    """Cash and bonus are JSON numbers of exactly the digits they have; a bonus that there is not is left out."""
    body = _body(Credited("t-1", "USD", Decimal(cash), None if bonus is None else Decimal(bonus)))
    with_bonus = "" if bonus is None else f'"bonus":{bonus},'
    start = '{"transactionId":"t-1","currency":"USD"'
    assert body == f'{start},"cash":{cash},{with_bonus}"error":0,"description":"Success"}}'


@pytest.mark.parametrize(("cash", "written"), [("1E-18", "0.000000000000000001"), ("0E-18", "0." + "0" * 18)])
def test_small_balances_have_no_exponent(cash: str, written: str) -> None:
    """What a Decimal would print with an exponent is written out."""
    assert f'"cash":{written},' in _body(Credited("t", "USD", Decimal(cash)))


def test_large_balances_have_no_exponent() -> None:
    """So is a large one."""
    assert '"cash":100,' in _body(Credited("t", "USD", Decimal("1E+2")))
