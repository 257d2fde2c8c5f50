"""The ledger: each reference moves money once, and a refusal moves none."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from gateway.store.base import ContentDiffers, PostingRecords, Store
from gateway.store.models import (
    AccountOpened,
    Applied,
    EventFilter,
    EventType,
    PostingFault,
    PostingRefused,
)
from tests.gateway.store.samples import (
    NOW,
    cash,
    deliver,
    event,
    exchange,
    item,
    open_items,
    posting,
    published_events,
    records,
)

REUSED = PostingFault.REFERENCE_REUSED


async def opened(store: Store, user_id: str = "player-1", currency: str = "EUR", opening: str = "100") -> AccountOpened:
    return await store.open_account(user_id, currency, Decimal(opening), NOW)


async def event_types(store: Store) -> list[EventType]:
    return [event.type for event in await published_events(store)]


# --- Accounts ---------------------------------------------------------------------------------------------------------


async def test_opening_again_answers_the_opening_balance(store: Store) -> None:
    """OpenAccount with the same content, compared by value, answers as the first time, whatever was credited since."""
    assert await opened(store, opening="100.0") == AccountOpened("player-1", "EUR", Decimal(100))
    await deliver(store, posting())
    assert await opened(store, opening="100.00") == AccountOpened("player-1", "EUR", Decimal(100))
    assert await cash(store) == Decimal("110.50")


async def test_opening_with_another_balance_is_refused(store: Store) -> None:
    """An account is not opened twice with different balances."""
    await opened(store)
    with pytest.raises(ContentDiffers) as caught:
        await opened(store, opening="100.01")
    assert caught.value.field == "opening_balance"
    assert await cash(store) == 100


async def test_a_balance_says_why_there_is_none(store: Store) -> None:
    """A user without any account and a user without one in this currency get different refusals."""
    await opened(store)
    assert await store.balance("nobody", "EUR") == PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    assert await store.balance("player-1", "USD") == PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")


@pytest.mark.parametrize(
    ("opening", "credit", "after"),
    [
        ("0", "0.0", "0"),
        ("-0", "0E+3", "0"),
        ("10.0", "0.10", "10.1"),
        ("100", "0.00", "100"),
        ("0.1", "0.2", "0.3"),
        ("1E+3", "1", "1001"),
        ("99999999999999.999999999999999999", "0.000000000000000001", "100000000000000"),
        ("9" * 32, "0.000000000000000001", "9" * 32 + ".000000000000000001"),
    ],
)
async def test_money_is_exact(store: Store, opening: str, credit: str, after: str) -> None:
    """Sums do not round, and every answer writes the same balance the same way."""
    await opened(store, opening=opening)
    first = await deliver(store, posting(amount=Decimal(credit)))
    again = await deliver(store, posting(amount=Decimal(credit)))
    assert isinstance(first, Applied)
    assert isinstance(again, Applied)
    assert [str(first.cash), str(again.cash), str(await cash(store))] == [after] * 3


# --- Once -------------------------------------------------------------------------------------------------------------


async def test_references_are_each_provider_s_own(store: Store) -> None:
    """The same reference at two providers is two transactions."""
    await opened(store)
    first = await deliver(store, posting(provider="acme"))
    second = await deliver(store, posting(provider="bolt"))
    assert isinstance(first, Applied)
    assert isinstance(second, Applied)
    assert first.transaction_id != second.transaction_id
    assert await cash(store) == 121


async def test_a_provider_with_money_is_remembered(store: Store) -> None:
    """Of the configured providers, those with a transaction are part of a money key, permanently."""
    await store.remember_providers(frozenset({"acme", "bolt"}))
    await store.remember_providers(frozenset({"bolt"}))
    assert await store.money_providers() == frozenset()
    await deliver(store, posting(provider="acme"))  # refused: there is no account
    assert await store.money_providers() == frozenset()
    await opened(store)
    await deliver(store, posting(provider="acme"))
    await deliver(store, posting(provider="elsewhere"))
    assert await store.money_providers() == {"acme"}


# --- Refusals ---------------------------------------------------------------------------------------------------------

PRIZE: dict[str, Any] = {"promo_amount": Decimal(5), "promo_reference": "promo-1"}


async def test_a_refused_result_is_credited_once_the_account_is_open(store: Store) -> None:
    """A refusal is not stored as the answer: once the account is opened, the same Result is credited."""
    assert await deliver(store, posting()) == PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    await opened(store, currency="USD")
    assert await deliver(store, posting()) == PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")
    await opened(store)
    assert isinstance(await deliver(store, posting()), Applied)
    assert await cash(store) == Decimal("110.50")
    assert await cash(store, currency="USD") == 100


# --- What the database refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [{"promo_amount": Decimal(5)}, {"promo_reference": "promo-1"}])
async def test_half_a_prize_is_a_bug_and_changes_nothing(store: Store, half: dict[str, Any]) -> None:
    """The decoder lets no prize through without its amount or its reference; the database does not either."""
    await opened(store)
    with pytest.raises(Exception, match=r"(?i)check constraint"):
        await deliver(store, posting(**half))
    assert await cash(store) == 100
    assert await event_types(store) == []


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity"])
async def test_money_that_is_no_amount_is_a_bug_and_changes_nothing(store: Store, amount: str) -> None:
    """The decoder lets no such amount through; the database does not either."""
    await opened(store)
    with pytest.raises(Exception, match=r"(?i)check constraint"):
        await deliver(store, posting(amount=Decimal(amount)))
    assert await cash(store) == 100


# --- Records of a posting ---------------------------------------------------------------------------------------------


async def test_an_event_is_kept_for_what_happened(store: Store) -> None:
    """A first application and a new item have their event; a replay and a known item only a journal line."""
    for _ in range(2):
        await deliver(store, posting())
    await opened(store)
    for _ in range(2):
        await deliver(store, posting())
    assert await event_types(store) == [EventType.RESULT_REFUSED, EventType.RESULT_CREDITED]
    assert len(await store.exchanges()) == 4


async def test_applying_resolves_the_items_of_the_reference(store: Store) -> None:
    """What was refused and is credited after all needs no operator; another reference's item stays open."""
    await deliver(store, posting("ref-1"))
    await opened(store, currency="USD")
    await deliver(store, posting("ref-1"))
    await deliver(store, posting("ref-2"))
    assert [each.reference for each in await open_items(store)] == ["ref-1", "ref-1", "ref-2"]
    await opened(store)
    await deliver(store, posting("ref-1"))
    assert [each.reference for each in await open_items(store)] == ["ref-2"]


async def test_another_players_credit_resolves_nothing(store: Store) -> None:
    """A player's lost win stays open, though another player is paid under its reference."""
    await opened(store, user_id="bob")
    await deliver(store, posting(user_id="alice"))
    await deliver(store, posting(user_id="carol"))
    await deliver(store, posting(user_id="bob"))
    assert [each.user_id for each in await open_items(store)] == ["alice", "carol"]


async def test_a_replay_resolves_nothing(store: Store) -> None:
    """A contradiction seen after the credit stays open, though the right content is sent again."""
    await opened(store)
    await deliver(store, posting())
    await deliver(store, posting(amount=Decimal(11)))
    await deliver(store, posting())
    assert [(each.fault, each.field) for each in await open_items(store)] == [("REFERENCE_REUSED", "amount")]


async def test_a_refusal_after_the_credit_opens_its_item_again(store: Store) -> None:
    """An item that a credit resolved does not hide the same refusal when it comes again later."""
    await opened(store)
    await deliver(store, posting("ref-0", **PRIZE))
    clash = posting("ref-1", promo_amount=Decimal(6), promo_reference="promo-1")
    fixed = posting("ref-1", promo_amount=Decimal(6), promo_reference="promo-2")
    await deliver(store, clash)
    await deliver(store, fixed)
    assert await open_items(store) == ()
    assert await deliver(store, clash) == PostingRefused(REUSED, "promo_reference")
    assert [each.field for each in await open_items(store)] == ["promo_reference"]
    assert (await event_types(store))[-1] == EventType.RESULT_REFUSED


async def test_a_posting_whose_records_cannot_be_made_changes_nothing(store: Store) -> None:
    """Money never moves without its journal line: the error is raised at the caller, and nothing is stored."""
    await opened(store)

    def broken(result: object) -> PostingRecords:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        await store.apply(posting(), NOW, broken)
    assert await cash(store) == 100
    await store.remember_providers(frozenset({posting().provider}))
    assert await store.money_providers() == frozenset()


async def test_a_posting_may_go_without_a_line(store: Store) -> None:
    """A caller that came over gRPC has no exchange to keep; the event is kept all the same."""
    await opened(store)
    await store.apply(posting(), NOW, records(event=event()))
    assert await store.exchanges() == ()
    assert await event_types(store) == [EventType.RESULT_CREDITED]


async def test_an_item_of_a_credit_stays_open(store: Store) -> None:
    """A credit resolves earlier items, not one that is recorded with it."""
    await opened(store)
    await store.apply(posting(), NOW, records(exchange(), item=item(fault="OTHER")))
    assert [each.fault for each in await open_items(store)] == ["OTHER"]


# --- Concurrency ------------------------------------------------------------------------------------------------------


async def test_a_storm_of_deliveries_credits_each_reference_once(store: Store) -> None:
    """Many deliveries of few references at once: one transaction a reference, one event, exact balances."""
    users = [f"player-{number}" for number in range(3)]
    for user in users:
        await opened(store, user_id=user, opening="0")
    references = [f"ref-{number}" for number in range(12)]
    deliveries = [
        posting(reference, user_id=users[number % 3], amount=Decimal("0.1"))
        for _ in range(40)
        for number, reference in enumerate(references)
    ]
    results = await asyncio.gather(*(deliver(store, each) for each in deliveries))
    applied = [
        (each.reference, result)
        for each, result in zip(deliveries, results, strict=True)
        if isinstance(result, Applied)
    ]
    assert len(applied) == len(deliveries)
    assert Counter(reference for reference, result in applied if not result.replayed) == Counter(references)
    assert len({(reference, result.transaction_id) for reference, result in applied}) == len(references)
    assert [await cash(store, user_id=user) for user in users] == [Decimal("0.4")] * 3
    assert await event_types(store) == [EventType.RESULT_CREDITED] * len(references)


async def test_a_storm_of_the_same_refusal_is_one_item(store: Store) -> None:
    """Many refusals at once of one reference are one item and one event, and a journal line each."""
    results = await asyncio.gather(*(deliver(store, posting()) for _ in range(50)))
    assert set(results) == {PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")}
    assert len(await open_items(store)) == 1
    assert await event_types(store) == [EventType.RESULT_REFUSED]
    assert len(await store.exchanges()) == 50


async def test_any_text_is_kept_as_it_is(store: Store) -> None:
    """Ids are bound, never spliced: quotes, emoji and right-to-left marks are only characters."""
    odd = "o'Brien\"; DROP TABLE accounts; -- \u202e\N{PILE OF POO}%_"
    await opened(store, user_id=odd)
    one = posting(odd, user_id=odd, round_id=odd, game_id=odd)
    first, again = await deliver(store, one), await deliver(store, one)
    assert isinstance(first, Applied)
    assert again == structs.replace(first, replayed=True)
    await published_events(store)
    assert [each.reference for each in await store.events_after("", EventFilter(user_id=odd), 10)] == [odd]
