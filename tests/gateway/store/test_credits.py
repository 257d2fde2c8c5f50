"""Transactions looked up, and what the operator's own wallet made of Results."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from gateway.store.base import PostingRecords, Store
from gateway.store.models import (
    Applied,
    Credit,
    CreditKind,
    EventType,
    Posting,
    PostingFault,
    PostingRefused,
)
from gateway.store.reconciliation import ReconciliationKind
from tests.gateway.store.samples import (
    NOW,
    RecordsOf,
    deliver,
    event,
    exchange,
    item,
    open_items,
    opened,
    posting,
    published_events,
    records,
    records_of,
)

PRIZE: dict[str, Any] = {"promo_amount": Decimal("5.50"), "promo_reference": "promo-1"}
WALLETS = Applied("wallet-7", "EUR", Decimal("110.50"), replayed=False)
UNKNOWN_ACCOUNT = PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")


async def record(
    store: Store,
    posting: Posting,
    outcome: Applied | PostingRefused = WALLETS,
    made: RecordsOf | None = None,
) -> Applied | PostingRefused:
    """Record what the operator's wallet made of a Result; the outcome that was stored."""
    return (await store.record_outcome(posting, outcome, made or records_of(posting), NOW)).outcome


def doubt(reference: str = "ref-1") -> RecordsOf:
    """What is kept of a Result that the wallet may or may not have credited."""
    unknown = item(reference=reference, kind=ReconciliationKind.RESULT_UNKNOWN, fault="OUTCOME_UNKNOWN", field="")
    return records(exchange(verdict="OUTCOME_UNKNOWN"), item=unknown)


# --- Look-up ----------------------------------------------------------------------------------------------------------


async def test_a_transaction_is_found_by_its_reference(store: Store) -> None:
    """Its content is that of the Result, amounts in plain form; a prize has its own reference."""
    whole = posting(amount=Decimal("10.50"), **PRIZE)
    await opened(store)
    applied = await deliver(store, whole)
    assert isinstance(applied, Applied)
    kept = await store.credit("acme", "ref-1")
    assert kept == Credit(CreditKind.RESULT, applied.transaction_id, whole, NOW)
    assert str(kept.content.amount) == "10.5"
    prize = await store.credit("acme", "promo-1")
    assert prize is not None
    assert (prize.kind, prize.content.amount, prize.content.promo_amount) == (CreditKind.PROMO, Decimal("5.5"), None)
    assert prize.transaction_id != kept.transaction_id
    assert await store.credit("bolt", "ref-1") is None
    assert await store.credit("acme", "ref-2") is None


async def test_a_players_transactions_come_newest_first_in_pages(store: Store) -> None:
    """Pages joined by their tokens are all of them, each once, also those of one moment and those of the wallet."""
    await opened(store)
    await opened(store, "player-2")
    for number, minute in enumerate([3, 1, 1, 1, 2, 0, 2]):
        one = posting(f"ref-{number}", provider="acme" if number % 2 else "bolt")
        now = NOW + timedelta(minutes=minute)
        if number % 3:
            await store.apply(one, now, records_of(one))
        else:
            await store.record_outcome(one, WALLETS, records_of(one), now)
    await deliver(store, posting("another", user_id="player-2"))
    seen: list[Credit] = []
    token = ""
    while True:
        page = await store.credits_of("player-1", page_token=token, limit=2)
        seen.extend(page.entries)
        token = page.next_token
        if not token:
            break
        assert len(page.entries) == 2
    order = [(each.created_at, each.content.provider, each.content.reference) for each in seen]
    assert order == sorted(order, reverse=True)
    assert {reference for *_, reference in order} == {f"ref-{number}" for number in range(7)}
    assert len(order) == 7
    assert (await store.credits_of("nobody")).entries == ()


# --- The operator's wallet --------------------------------------------------------------------------------------------


async def test_a_wallets_credit_is_kept_once(store: Store) -> None:
    """The credit is stored with the wallet's transaction id, one event and a line for each delivery, and no account."""
    whole = posting(**PRIZE)
    await record(store, whole)
    await record(store, whole, structs.replace(WALLETS, transaction_id="another", replayed=True))
    assert await store.credit("acme", "ref-1") == Credit(CreditKind.RESULT, "wallet-7", whole, NOW)
    assert [each.type for each in await published_events(store)] == [EventType.RESULT_CREDITED]
    assert len(await store.exchanges()) == 2
    assert await store.balance("player-1", "EUR") == UNKNOWN_ACCOUNT
    assert await store.credit("acme", "promo-1") is None


async def test_a_wallets_refusal_is_an_item_once(store: Store) -> None:
    """A refusal keeps its line each time, its item and its event once, and no credit."""
    for _ in range(2):
        await record(store, posting(), UNKNOWN_ACCOUNT)
    assert [each.fault for each in await open_items(store)] == ["ACCOUNT_UNKNOWN"]
    assert [each.type for each in await published_events(store)] == [EventType.RESULT_REFUSED]
    assert len(await store.exchanges()) == 2
    assert await store.credit("acme", "ref-1") is None


async def test_a_wallets_credit_settles_its_items(store: Store) -> None:
    """What was refused or unknown before and is credited needs no operator; another reference's and player's do."""
    await record(store, posting(), UNKNOWN_ACCOUNT)
    await record(store, posting(), UNKNOWN_ACCOUNT, doubt())
    await record(store, posting("ref-2"), UNKNOWN_ACCOUNT)
    await record(store, posting(user_id="other"), UNKNOWN_ACCOUNT)
    await record(store, posting())
    assert [(each.reference, each.user_id) for each in await open_items(store)] == [
        ("ref-2", "player-1"),
        ("ref-1", "other"),
    ]


async def test_a_wallets_replay_settles_doubt_and_nothing_else(store: Store) -> None:
    """A replay confirms the credit: what was unknown is known, and a contradiction stays open."""
    await record(store, posting())
    await record(store, posting(), UNKNOWN_ACCOUNT, doubt())
    await record(store, posting(amount=Decimal(11)), PostingRefused(PostingFault.REFERENCE_REUSED, "amount"))
    assert len(await open_items(store)) == 2
    await record(store, posting(), structs.replace(WALLETS, replayed=True))
    assert [each.field for each in await open_items(store)] == ["amount"]


async def test_the_first_credit_of_a_wallet_holds(store: Store) -> None:
    """The first credit holds, whatever the wallet answers for its reference later; the records have the outcome."""
    other = posting(amount=Decimal(999))
    replayed = structs.replace(WALLETS, cash=Decimal(120), replayed=True)
    second = structs.replace(WALLETS, transaction_id="wallet-8", cash=Decimal(120))
    differs = PostingRefused(PostingFault.REFERENCE_REUSED, "amount")
    for content, applied, expected in (
        (posting(), WALLETS, WALLETS),
        (posting(amount=Decimal("10.50")), replayed, replayed),
        (posting(), second, structs.replace(replayed, contradicting="wallet-8")),
        (other, second, differs),
        (other, replayed, differs),
    ):
        assert await record(store, content, applied, records(exchange())) == expected
    kept = await store.credit("acme", "ref-1")
    assert kept is not None
    assert (kept.transaction_id, kept.content) == ("wallet-7", posting())


async def test_a_stored_credit_leaves_no_unknown_item(store: Store) -> None:
    """Where another delivery's credit is known by then, a wallet that did not answer needs no operator."""
    unknown = item(kind=ReconciliationKind.RESULT_UNKNOWN, fault="OUTCOME_UNKNOWN", field="")
    await record(store, posting())
    await store.record_exchange(exchange(verdict="TRY_AGAIN"), unknown)
    assert not await open_items(store)
    assert len(await store.exchanges()) == 2
    await store.record_exchange(exchange(verdict="TRY_AGAIN"), structs.replace(unknown, user_id="other"))
    assert [each.user_id for each in await open_items(store)] == ["other"]


async def test_a_contradiction_settles_no_doubt(store: Store) -> None:
    """A wallet's answer for another content than it credited does not say the outcome of that content."""
    unknown = item(kind=ReconciliationKind.RESULT_UNKNOWN, fault="OUTCOME_UNKNOWN", field="", user_id="other")
    await record(store, posting())
    await store.record_exchange(exchange(verdict="TRY_AGAIN"), unknown)
    await record(store, posting(user_id="other"), structs.replace(WALLETS, replayed=True))
    assert unknown in await open_items(store)


async def test_an_item_of_a_wallets_credit_stays_open(store: Store) -> None:
    """A credit resolves only earlier items."""
    await record(store, posting(), WALLETS, records(exchange(), event(), item(fault="OTHER")))
    assert [each.fault for each in await open_items(store)] == ["OTHER"]
    assert len(await published_events(store)) == 1


async def test_records_that_cannot_be_made_store_no_wallets_credit(store: Store) -> None:
    """No credit is stored without its records: the error is raised at the caller."""

    def broken(outcome: object) -> PostingRecords:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        await record(store, posting(), WALLETS, broken)
    assert await store.credit("acme", "ref-1") is None


async def test_a_wallets_provider_is_part_of_a_money_key(store: Store) -> None:
    """A name that the operator's wallet knows references of must stay configured."""
    await store.remember_providers(frozenset({"acme", "bolt"}))
    await record(store, posting())
    assert await store.money_providers() == {"acme"}
