"""The ledger's rules alone: batches of postings against a snapshot, without a database."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, Inexact
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.store.base import PostingRecords
from gateway.store.exact import normalize
from gateway.store.models import (
    Applied,
    Credit,
    CreditKind,
    EventType,
    Posting,
    PostingFault,
    PostingRefused,
)
from gateway.store.posting import Entries, LedgerSnapshot, Posted, PostingRequest, first_difference, lock_set, post
from gateway.store.sqlite.codecs import money_text
from tests.gateway.store.samples import NOW, RecordsOf, event, exchange, posting, records, records_of

REUSED = PostingFault.REFERENCE_REUSED
EMPTY = LedgerSnapshot({}, {("player-1", "EUR"): Decimal(100)}, frozenset({"player-1"}))


Outcome = Applied | PostingRefused


def request(posting: Posting, made: RecordsOf | None = None) -> PostingRequest[PostingRecords]:
    return PostingRequest(posting, NOW, made or records_of(posting))


def posted(*postings: Posting, kept: LedgerSnapshot = EMPTY) -> tuple[list[Outcome], Entries]:
    results, entries = post([request(each) for each in postings], kept)
    return [outcome(result) for result in results], entries


def outcome(posted: Posted) -> Outcome:
    assert isinstance(posted, PostingRecords)
    return posted.outcome


def with_prize(reference: str = "ref-1", **fields: Any) -> Posting:
    return posting(reference, **{"promo_amount": Decimal(5), "promo_reference": "promo-1", **fields})


def refused(posted: Outcome) -> tuple[PostingFault, str]:
    assert isinstance(posted, PostingRefused)
    return posted.fault, posted.field


def cash_of(posted: Outcome) -> Decimal:
    assert isinstance(posted, Applied)
    return posted.cash


# --- Locks -------------------------------------------------------------------------------------------------------


def test_a_lock_set_is_sorted_without_duplicates() -> None:
    """Locks are acquired in its order: two gateways with the same batch never deadlock."""
    batch = [posting("b"), with_prize("a"), posting("b"), posting("c", user_id="player-0"), posting("a", provider="z")]
    found = lock_set(batch)
    assert found.references == (("acme", "a"), ("acme", "b"), ("acme", "c"), ("acme", "promo-1"), ("z", "a"))
    assert found.accounts == (("player-0", "EUR"), ("player-1", "EUR"))


# --- One posting ------------------------------------------------------------------------------------------------------


def test_a_first_posting_is_entered_with_all_that_belongs_to_it() -> None:
    """One credit, the balance, the journal's line, the event, and the resolving of its open items."""
    (result,), entries = posted(posting())
    assert isinstance(result, Applied)
    assert (result.cash, result.replayed) == (Decimal("110.5"), False)
    assert entries.credits == [Credit(CreditKind.RESULT, result.transaction_id, posting(), NOW)]
    assert entries.cash == {("player-1", "EUR"): Decimal("110.5")}
    assert [each.verdict for each in entries.exchanges] == ["CREDITED"]
    assert [each.type for each in entries.events] == [EventType.RESULT_CREDITED]
    assert entries.resolving == [(posting(), NOW)]
    assert not entries.items_before
    assert not entries.items_after


def test_the_same_again_answers_the_first_transaction_and_the_balance_now() -> None:
    """A replay writes its line in the journal and nothing else, no event either."""
    kept = replace(EMPTY, credits={("acme", "ref-1"): Credit(CreditKind.RESULT, "first", posting(), NOW)})
    (result,), entries = posted(posting(amount=Decimal("10.5"), session_id="another"), kept=kept)
    assert result == Applied("first", "EUR", Decimal(100), replayed=True)
    assert len(entries.exchanges) == 1
    assert entries == Entries(exchanges=entries.exchanges)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"user_id": "player-2", "amount": Decimal(1)}, "user_id"),
        ({"currency": "USD", "amount": Decimal(1)}, "currency"),
        ({"amount": Decimal("10.51")}, "amount"),
        ({"round_id": "round-2", "game_id": "game-2"}, "round_id"),
        ({"game_id": "game-2"}, "game_id"),
        ({"promo_amount": Decimal(1), "promo_reference": "p"}, "promo_amount"),
    ],
)
def test_other_content_under_a_reference_is_named_by_its_first_field(other: dict[str, Any], named: str) -> None:
    """A known reference with other content changes nothing, whatever the account."""
    kept = replace(EMPTY, credits={("acme", "ref-1"): Credit(CreditKind.RESULT, "first", posting(), NOW)})
    (result,), entries = posted(posting(**other), kept=kept)
    assert refused(result) == (REUSED, named)
    assert entries == Entries(exchanges=entries.exchanges, items_before=entries.items_before)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"promo_amount": Decimal(6), "promo_reference": "promo-2"}, "promo_amount"),
        ({"promo_amount": None, "promo_reference": ""}, "promo_amount"),
        ({"promo_reference": "promo-2"}, "promo_reference"),
    ],
)
def test_another_prize_under_a_known_reference_is_named(other: dict[str, Any], named: str) -> None:
    """The prize is part of the content of a reference."""
    kept = replace(EMPTY, credits={("acme", "ref-1"): Credit(CreditKind.RESULT, "first", with_prize(), NOW)})
    (result,), _ = posted(with_prize(**other), kept=kept)
    assert refused(result) == (REUSED, named)


def test_the_account_is_checked_after_the_reference_and_before_the_currency() -> None:
    """Without any account ACCOUNT_UNKNOWN; with one in another currency CURRENCY_MISMATCH."""
    results, entries = posted(posting("a", user_id="nobody"), posting("b", currency="USD"))
    assert [refused(result) for result in results] == [
        (PostingFault.ACCOUNT_UNKNOWN, "user_id"),
        (PostingFault.CURRENCY_MISMATCH, "currency"),
    ]
    assert [item.reference for item, _ in entries.items_before] == ["a", "b"]
    assert entries == Entries(exchanges=entries.exchanges, items_before=entries.items_before)


def test_amounts_are_compared_by_value_and_added_exactly() -> None:
    """10.50 is 10.5, and eighteen digits behind the point survive thirty in front of it."""
    assert first_difference(posting(amount=Decimal("10.50")), posting(amount=Decimal("1.05E+1"))) == ""
    wide = Decimal("9" * 32)
    kept = replace(EMPTY, cash={("player-1", "EUR"): wide})
    (result,), _ = posted(posting(amount=Decimal("1E-18")), kept=kept)
    assert format(cash_of(result), "f") == "9" * 32 + "." + "0" * 17 + "1"


def test_what_cannot_be_added_exactly_is_no_balance() -> None:
    """A sum that would have to be rounded is a bug, and raises instead of making money."""
    with pytest.raises(Inexact):
        posted(posting(amount=Decimal("1E-300")))


@given(st.decimals(min_value=0, max_value=10**32, places=18, allow_nan=False, allow_infinity=False))
def test_the_plain_form_has_no_exponent_and_no_zeros_at_its_end(amount: Decimal) -> None:
    """The one form in which it is answered, whether it was just added or is read back from its text."""
    assert normalize(amount).as_tuple() == Decimal(money_text(amount)).as_tuple()


# --- Prizes -----------------------------------------------------------------------------------------------------------


def test_a_prize_is_a_credit_beside_the_win_under_its_own_reference() -> None:
    """Both amounts are credited, as two transactions with separate ids; the prize's content has no prize."""
    (result,), entries = posted(with_prize())
    assert cash_of(result) == Decimal("115.5")
    win, prize = entries.credits
    assert (win.kind, win.content) == (CreditKind.RESULT, with_prize())
    assert (prize.kind, prize.content) == (CreditKind.PROMO, posting("promo-1", amount=Decimal(5)))
    assert win.transaction_id != prize.transaction_id


def test_a_prize_that_two_results_carry_is_credited_once() -> None:
    """The second Result is credited, and the very same prize is not credited again."""
    (first, second), entries = posted(with_prize("a"), with_prize("b"))
    assert (cash_of(first), cash_of(second)) == (Decimal("115.5"), Decimal(126))
    assert [credit.content.reference for credit in entries.credits] == ["a", "promo-1", "b"]


ACCOUNTS = replace(EMPTY, cash={**EMPTY.cash, ("player-2", "EUR"): Decimal(0), ("player-1", "USD"): Decimal(0)})


@pytest.mark.parametrize(
    "first",
    [
        with_prize("a", promo_amount=Decimal(6)),
        with_prize("a", user_id="player-2"),
        with_prize("a", currency="USD"),
        with_prize("a", round_id="another"),
        with_prize("a", game_id="another"),
        posting("promo-1", amount=Decimal(5)),  # a Result, and no prize
    ],
)
def test_a_prize_with_other_content_refuses_the_whole_result(first: Posting) -> None:
    """Neither the win nor the prize is credited where the prize's reference has another content."""
    (credited, result), entries = posted(first, with_prize("b"), kept=ACCOUNTS)
    assert isinstance(credited, Applied)
    assert refused(result) == (REUSED, "promo_reference")
    assert "b" not in {credit.content.reference for credit in entries.credits}


def test_a_prize_under_its_own_results_reference_is_refused() -> None:
    """One reference cannot have two credits."""
    (result,), entries = posted(with_prize("same", promo_reference="same"))
    assert refused(result) == (REUSED, "promo_reference")
    assert not entries.credits


def test_a_result_under_a_prizes_reference_is_refused() -> None:
    """A prize's reference is taken, whatever the Result says."""
    (_, result), _ = posted(with_prize(), posting("promo-1", amount=Decimal(5)))
    assert refused(result) == (REUSED, "reference")


# --- A batch ----------------------------------------------------------------------------------------------------------


def test_duplicates_in_one_batch_see_the_first() -> None:
    """One credit and one event for five deliveries; each has its line, and its own view of the balance."""
    results, entries = posted(posting(), posting("other"), *[posting()] * 4)
    assert [result.replayed for result in results if isinstance(result, Applied)] == [False, False, *[True] * 4]
    assert [cash_of(result) for result in results] == [Decimal("110.5"), *[Decimal(121)] * 5]
    assert len({result.transaction_id for result in results if isinstance(result, Applied)}) == 2
    assert (len(entries.credits), len(entries.events), len(entries.exchanges)) == (2, 2, 6)


def test_an_item_from_before_the_credit_is_resolved_by_it_and_one_from_behind_is_not() -> None:
    """A contradiction of a credit of the same batch is kept after the credit has resolved what it settles."""
    contradiction = posting(amount=Decimal(1))
    _, entries = posted(posting("other", user_id="nobody"), posting(), contradiction)
    assert [item.reference for item, _ in entries.items_before] == ["other"]
    assert [resolved.reference for resolved, _ in entries.resolving] == ["ref-1"]
    assert [(item.reference, item.field) for item, _ in entries.items_after] == [("ref-1", "amount")]
    assert not [each for each in entries.events if each.type is EventType.RESULT_REFUSED]


def test_a_contradiction_of_an_older_credit_comes_before_the_batchs_credits() -> None:
    """Only a credit of this batch could resolve it, and none of its reference is in it."""
    kept = replace(EMPTY, credits={("acme", "ref-1"): Credit(CreditKind.RESULT, "first", posting(), NOW)})
    _, entries = posted(posting(amount=Decimal(1)), kept=kept)
    assert [item.field for item, _ in entries.items_before] == ["amount"]
    assert not entries.items_after


def test_a_posting_whose_records_cannot_be_made_enters_nothing() -> None:
    """Its neighbours are applied, and the same reference after it is applied for the first time."""

    def broken(result: object) -> PostingRecords:
        raise ZeroDivisionError("a bug")

    requests = [request(posting("a")), request(posting("b"), broken), request(posting("b")), request(posting("c"))]
    (first, bug, second, third), entries = post(requests, EMPTY)
    assert isinstance(bug, ZeroDivisionError)
    assert [cash_of(outcome(result)) for result in (first, second, third)] == [
        Decimal("110.5"),
        Decimal(121),
        Decimal("131.5"),
    ]
    assert [credit.content.reference for credit in entries.credits] == ["a", "b", "c"]
    assert len(entries.exchanges) == 3


def test_records_may_lack_a_line_or_an_event() -> None:
    """The ledger served over gRPC has no journal line to store."""
    credited = event()
    (first, again), entries = post([request(posting(), records(event=credited))] * 2, EMPTY)
    assert (cash_of(outcome(first)), cash_of(outcome(again))) == (Decimal("110.5"), Decimal("110.5"))
    assert not entries.exchanges
    assert entries.events == [credited]
    line = exchange()
    _, entries = post([request(posting(), records(line))], EMPTY)
    assert (entries.exchanges, entries.events) == ([line], [])


AMOUNTS = st.sampled_from([Decimal(text) for text in ("0", "0.1", "0.10", "1E-18", "1E+2", "12345678901234567890")])
POSTINGS = st.builds(
    lambda reference, user, currency, amount, round_id, prize: posting(
        reference,
        user_id=user,
        currency=currency,
        amount=amount,
        round_id=round_id,
        promo_amount=prize[0],
        promo_reference=prize[1],
    ),
    st.sampled_from("abcd"),
    st.sampled_from(["player-1", "player-1", "player-2", "nobody"]),
    st.sampled_from(["EUR", "EUR", "USD"]),
    AMOUNTS,
    st.sampled_from(["1", "1", "2"]),
    st.one_of(st.just((None, "")), st.tuples(AMOUNTS, st.sampled_from("abcdef"))),
)
OPENED = LedgerSnapshot(
    {},
    {("player-1", "EUR"): Decimal("0.5"), ("player-1", "USD"): Decimal(0), ("player-2", "EUR"): Decimal(7)},
    frozenset({"player-1", "player-2"}),
)


def after(kept: LedgerSnapshot, entries: Entries) -> LedgerSnapshot:
    """What is kept once a batch is written."""
    entered = {(each.content.provider, each.content.reference): each for each in entries.credits}
    assert not entered.keys() & kept.credits.keys()
    assert len(entered) == len(entries.credits)
    return LedgerSnapshot({**kept.credits, **entered}, {**kept.cash, **entries.cash}, kept.users)


def without_ids(results: Sequence[Outcome]) -> list[Outcome]:
    return [structs.replace(result, transaction_id="") if isinstance(result, Applied) else result for result in results]


@settings(max_examples=200, deadline=None)
@given(st.lists(POSTINGS, min_size=1, max_size=12), st.data())
def test_however_a_stream_is_cut_into_batches_the_books_are_the_same(batch: list[Posting], data: st.DataObject) -> None:
    """All at once, one by one, or anyhow: the same answers, credits, balances and items, and money is conserved."""
    at_once, entries = posted(*batch, kept=OPENED)
    kept, results, items = OPENED, list[Outcome](), 0
    rest = list(batch)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        some, written = posted(*rest[:size], kept=kept)
        kept, rest = after(kept, written), rest[size:]
        results += some
        items += len(written.items_before) + len(written.items_after)
    whole = after(OPENED, entries)
    assert without_ids(at_once) == without_ids(results)
    assert whole.cash == kept.cash
    assert [each.content for each in whole.credits.values()] == [each.content for each in kept.credits.values()]
    assert len(entries.items_before) + len(entries.items_after) == items
    assert (
        len(entries.events)
        == len(entries.resolving)
        == sum(isinstance(result, Applied) and not result.replayed for result in at_once)
    )
    for account, cash in whole.cash.items():
        credited = sum(
            Fraction(each.content.amount)
            for each in entries.credits
            if (each.content.user_id, each.content.currency) == account
        )
        assert Fraction(cash) == Fraction(OPENED.cash[account]) + credited
