"""A Result's posting, and its records."""

from dataclasses import replace
from decimal import Decimal

import pytest
from msgspec import structs

from gateway.store.models import AboveCeiling, Applied, EventType, Posting, PostingFault, PostingRefused
from gateway.wallet import records
from tests.gateway.wallet.journal import NOW, PRIZE, RESULT, exchange


def test_a_result_becomes_a_posting() -> None:
    """Everything that makes the content of a reference must reach the ledger, a prize with its own reference."""
    plain = Posting(
        provider="monaco",
        reference=RESULT.reference,
        user_id="421",
        currency="USD",
        amount=RESULT.amount,
        round_id="5103188801",
        game_id="Im_60_tumblefortune",
        session_id=RESULT.session_id,
    )
    assert records.posting("monaco", RESULT) == plain
    with_prize = structs.replace(plain, promo_amount=PRIZE.amount, promo_reference=PRIZE.reference)
    assert records.posting("monaco", replace(RESULT, promo=PRIZE)) == with_prize


def test_a_credited_result_has_its_event() -> None:
    """An applied posting makes a RESULT_CREDITED event and no item; the same again makes the same."""
    line = exchange("CREDITED")
    applied = Applied("t1", "USD", RESULT.amount, replayed=False)
    made = records.posting_records(RESULT, applied, line)
    assert made.exchange is line
    assert made.item is None
    assert made.event is not None
    assert (made.event.id, made.event.type, made.event.time) == (line.id, EventType.RESULT_CREDITED, NOW)
    assert (made.event.provider, made.event.user_id) == ("monaco", "421")
    assert (made.event.session_id, made.event.reference) == (RESULT.session_id, RESULT.reference)
    assert records.posting_records(RESULT, applied, line) == made


def test_a_refused_result_has_an_item_and_an_event() -> None:
    """A refused posting makes an item that names fault and field, points to the journal, and an event."""
    line = exchange("REFERENCE_REUSED", "in the journal's words")
    made = records.posting_records(RESULT, PostingRefused(PostingFault.REFERENCE_REUSED, "amount"), line)
    assert made.item is not None
    assert made.event is not None
    assert (made.item.id, made.item.exchange_id, made.item.created_at) == (line.id, line.id, NOW)
    assert (made.item.provider, made.item.reference, made.item.user_id) == ("monaco", RESULT.reference, "421")
    assert (made.item.fault, made.item.field) == ("REFERENCE_REUSED", "amount")
    assert made.item.detail == "in the journal's words"
    assert (made.event.id, made.event.type) == (line.id, EventType.RESULT_REFUSED)
    assert (made.event.user_id, made.event.reference) == ("421", RESULT.reference)


ABOVE = PostingFault.AMOUNT_ABOVE_LIMIT


@pytest.mark.parametrize("fault", PostingFault)
def test_every_refusal_says_what_to_do(fault: PostingFault) -> None:
    """What an operator reads must name what is at fault, whatever it is."""
    above = AboveCeiling("max_amount", Decimal(10), Decimal("10.5")) if fault is ABOVE else None
    said = records.explain(replace(RESULT, user_id="{x}"), PostingRefused(fault, "round_id", above))
    wanted = {
        PostingFault.ACCOUNT_UNKNOWN: ("{x}", "open one"),
        PostingFault.CURRENCY_MISMATCH: ("{x}", "USD", "open one"),
        PostingFault.REFERENCE_REUSED: (RESULT.reference, "round_id", "journal"),
        ABOVE: ("10.5 USD", "max_amount of 10 USD", "redeliver"),
        PostingFault.FIELD_INVALID: (RESULT.reference, "round_id", "fix"),
    }
    assert all(word in said for word in wanted[fault])


def test_a_refusal_without_a_field_is_said_in_whole_words() -> None:
    """Where a wallet does not say which field it is about, the sentence still reads as one."""
    said = records.explain(RESULT, PostingRefused(PostingFault.REFERENCE_REUSED, ""))
    assert "another content" in said


def test_an_unknown_outcome_is_an_item_of_its_own_kind() -> None:
    """What the wallet may have credited is an item with the reference, the player and the journal's line."""
    line = exchange("TRY_AGAIN", "in the journal's words")
    item = records.unknown(RESULT, line)
    assert (item.kind, item.fault, item.field) == ("RESULT_UNKNOWN", "OUTCOME_UNKNOWN", "")
    assert (item.id, item.provider, item.reference) == (line.id, "monaco", RESULT.reference)
    assert (item.user_id, item.exchange_id, item.created_at) == ("421", line.id, NOW)
    assert item.detail == "in the journal's words"
