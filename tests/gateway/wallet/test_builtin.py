"""The built-in ledger on a real SQLite file."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs

from adapters.contract import Result
from gateway.store.base import StoreUnavailable
from gateway.store.models import (
    THE_GATEWAY,
    Applied,
    Balance,
    Direction,
    EventFilter,
    EventType,
    PostingFault,
    PostingRefused,
)
from gateway.store.reconciliation import ItemFilter
from gateway.store.sqlite import SqliteStore
from gateway.wallet.base import PostingOutcome, WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.wallet.journal import NOW, PRIZE, RESULT, records_of
from tests.support.actors import ADA


@dataclass(frozen=True, slots=True)
class Books:
    """A wallet and the store behind it."""

    wallet: BuiltinWallet
    store: SqliteStore
    path: Path


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path), busy_seconds=0.1)
    await store.open()
    yield Books(BuiltinWallet(store, lambda: NOW), store, path)
    await store.close()


async def credit(wallet: BuiltinWallet, result: Result = RESULT) -> PostingOutcome:
    """The outcome of one callback's Result."""
    return (await wallet.credit("monaco", result, records_of(result))).outcome


async def test_a_credit_keeps_effect_event_and_journal_line(books: Books) -> None:
    """A first credit has an event; a second has only its journal line, and returns the first transaction."""
    await books.wallet.open_account("421", "USD", Decimal(100), ADA)
    result = replace(RESULT, promo=PRIZE)
    first = await credit(books.wallet, result)
    again = await credit(books.wallet, result)
    assert isinstance(first, Applied)
    assert (first.cash, first.replayed) == (Decimal("112.5"), False)
    assert again == structs.replace(first, replayed=True)
    assert await books.wallet.balance("421", "USD") == Balance("USD", Decimal("112.5"))
    (event,) = await books.store.events_after("", EventFilter(), 10)
    assert (event.type, event.reference) == (EventType.RESULT_CREDITED, RESULT.reference)
    opening, *delivered = await books.store.exchanges()
    assert (opening.direction, opening.operation) == (Direction.CALLER, "open_account")
    assert [(line.direction, line.verdict) for line in delivered] == [(Direction.INBOUND, "CREDITED")] * 2


async def test_a_refusal_keeps_one_item_and_settles_when_credited(books: Books) -> None:
    """Without an account there is one item and one event, however often it comes; a credit resolves the item."""
    refused = PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    for _ in range(2):
        assert await credit(books.wallet) == refused
    (item,) = (await books.store.items(ItemFilter())).entries
    assert (item.fault, item.field, item.reference) == ("ACCOUNT_UNKNOWN", "user_id", RESULT.reference)
    assert [event.type for event in await books.store.events_after("", EventFilter(), 10)] == ["RESULT_REFUSED"]
    await books.wallet.open_account("421", "USD", Decimal(0), ADA)
    assert isinstance(await credit(books.wallet), Applied)
    assert not (await books.store.items(ItemFilter())).entries


async def test_a_result_over_grpc_is_applied_once(books: Books) -> None:
    """`apply` moves money once, with one event; the journal has a line of the credit, and one of each refusal."""
    unknown = PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    assert await books.wallet.apply("monaco", RESULT, ADA) == unknown
    await books.wallet.open_account("421", "USD", Decimal(100), ADA)
    first = await books.wallet.apply("monaco", RESULT, ADA)
    assert isinstance(first, Applied)
    assert first.cash == Decimal(110)
    assert await books.wallet.apply("monaco", RESULT, ADA) == structs.replace(first, replayed=True)
    reused = PostingRefused(PostingFault.REFERENCE_REUSED, "amount")
    assert await books.wallet.apply("monaco", replace(RESULT, amount=Decimal(11)), ADA) == reused
    (event,) = await books.store.events_after("", EventFilter(), 10)
    assert (event.type, event.time, event.provider) == (EventType.RESULT_CREDITED, NOW, "monaco")
    assert (event.user_id, event.reference) == ("421", RESULT.reference)
    assert not (await books.store.items(ItemFilter())).entries
    lines = await books.store.exchanges()
    assert [line.verdict for line in lines] == ["ACCOUNT_UNKNOWN", "CREDITED", "CREDITED", "REFERENCE_REUSED"]
    assert [line.operation for line in lines] == ["apply_result", "open_account", "apply_result", "apply_result"]
    assert {line.actor for line in lines} == {ADA}


async def test_a_caller_that_repeats_a_callbacks_result_gets_no_line(books: Books) -> None:
    """The credit is not that caller's: the journal names nobody else for it."""
    await books.wallet.open_account("421", "USD", Decimal(0), ADA)
    first = await credit(books.wallet)
    assert isinstance(first, Applied)
    assert await books.wallet.apply("monaco", RESULT, ADA) == structs.replace(first, replayed=True)
    (line,) = await books.store.exchanges()
    assert (line.direction, line.actor) == (Direction.INBOUND, THE_GATEWAY)


async def test_readiness_is_the_stores(books: Books) -> None:
    """The ledger is ready while its database can be written to, and says so when it is not."""
    await books.wallet.ready()
    other = sqlite3.connect(books.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(WalletUnavailable, match="ledger's store"):
        await books.wallet.ready()
    with pytest.raises(StoreUnavailable):
        await credit(books.wallet)
    other.close()
    await books.wallet.ready()
