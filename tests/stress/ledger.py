"""The ledger as it is on disk, read with plain SQL and not through the gateway's code, and its audit."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import asyncpg

from gateway.store.factory import open_store
from tests.stress.figures import Figures, exactly, none_of, stated
from tests.stress.sending import Win

Account = tuple[str, str]
"""(user_id, currency)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction as it is stored."""

    kind: str
    transaction_id: str
    user_id: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is stored."""

    id: str
    type: str
    user_id: str
    session_id: str
    request_id: str
    reference: str


@dataclass(frozen=True, slots=True)
class Item:
    """A reconciliation item as it is stored."""

    reference: str
    user_id: str
    fault: str
    field: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All that money is about in one database."""

    opening: Mapping[Account, Decimal]
    cash: Mapping[Account, Decimal]
    entries: Mapping[str, Entry]
    """Transactions by their reference."""
    wallet_credits: Mapping[str, Entry]
    """What the operator's wallet credited, by the reference."""
    events: Sequence[StoredEvent]
    """In the order in which subscribers see them."""
    items: Sequence[Item]

    @property
    def credited(self) -> Mapping[str, Entry]:
        """Results that are stored here: in the built-in ledger, or as the operator's wallet answered."""
        return {**self.entries, **self.wallet_credits}


class Reader(Protocol):
    """Reads one database."""

    order_of_events: str

    async def rows(self, sql: str) -> Sequence[Sequence[Any]]: ...


class SqliteReader:
    """Reads a file while the gateway writes it."""

    order_of_events = "position"

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def rows(self, sql: str) -> Sequence[Sequence[Any]]:
        return self._db.execute(sql).fetchall()


class PostgresReader:
    """Reads on a separate connection."""

    order_of_events = "position NULLS LAST, arrival"

    def __init__(self, db: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._db = db

    async def rows(self, sql: str) -> Sequence[Sequence[Any]]:
        return [tuple(row) for row in await self._db.fetch(sql)]


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Reader]:
    """A reader of the database at a store url."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            yield SqliteReader(file)
        return
    db = await asyncpg.connect(url)
    try:
        yield PostgresReader(db)
    finally:
        await db.close()


async def ledger_state_of(reader: Reader) -> LedgerState:
    """Read all of it."""
    accounts = await reader.rows("SELECT user_id, currency, opening, cash FROM accounts")
    return LedgerState(
        opening={(user, currency): Decimal(opening) for user, currency, opening, _ in accounts},
        cash={(user, currency): Decimal(cash) for user, currency, _, cash in accounts},
        entries=await _entries(reader, "transactions"),
        wallet_credits=await _entries(reader, "wallet_credits"),
        events=[
            StoredEvent(*row)
            for row in await reader.rows(
                "SELECT id, type, user_id, session_id, request_id, reference FROM events "  # noqa: S608 - our own words
                f"ORDER BY {reader.order_of_events}"
            )
        ],
        items=[
            Item(reference, user, fault, field, bool(is_open))
            for reference, user, fault, field, is_open in await reader.rows(
                "SELECT reference, user_id, fault, field, resolved_at IS NULL FROM reconciliation_items "
                "ORDER BY reference, user_id, fault, field"
            )
        ],
    )


async def _entries(reader: Reader, table: str) -> dict[str, Entry]:
    rows = await reader.rows(
        f"SELECT reference, kind, transaction_id, user_id, currency, amount FROM {table}"  # noqa: S608 - our own words
    )
    return {
        reference: Entry(kind, transaction_id, user, currency, Decimal(amount))
        for reference, kind, transaction_id, user, currency, amount in rows
    }


async def read_ledger(url: str) -> LedgerState:
    """The ledger in the database at a store url."""
    async with reading(url) as reader:
        return await ledger_state_of(reader)


async def discrepancies(url: str) -> Sequence[object]:
    """What the gateway's own check finds; no gateway may be on a SQLite database then."""
    store = open_store(url)
    await store.open()
    try:
        return await store.discrepancies()
    finally:
        await store.close()


async def audit(
    url: str, sent: Mapping[str, Win], acknowledged: Mapping[str, str], *, ledger: str = "", open_items: int = 0
) -> Figures:
    """Whether every Result that was sent is stored once, and every acknowledged one as it was acknowledged.

    `ledger` is the url of the operator's wallet where balances are kept there; `open_items` is how many there must be.
    """
    state = await read_ledger(url)
    balances = await read_ledger(ledger) if ledger else state
    credited, entries = state.credited, balances.entries
    reported = Counter(event.reference for event in state.events if event.type == "RESULT_CREDITED")
    return (
        stated("Results sent", len(sent)),
        exactly("... acknowledged in the end", len(sent), len(acknowledged)),
        exactly("... that are stored", len(sent), len(entries)),
        none_of("acknowledged, but not applied", acknowledged.keys() - entries.keys()),
        none_of(
            "acknowledged as another transaction",
            (
                ref
                for ref, answered_id in acknowledged.items()
                if ref in entries and entries[ref].transaction_id != answered_id
            ),
        ),
        none_of("applied, but not as sent", (ref for ref, entry in entries.items() if not _as_sent(entry, sent, ref))),
        none_of("kept by the gateway otherwise than by the wallet", _differences(credited, entries)),
        none_of("accounts whose cash is not opening + transactions", _unbalanced(balances)),
        none_of("Results without exactly one event", (ref for ref in sent if reported[ref] != 1)),
        none_of("events of no Result", reported.keys() - sent.keys()),
        none_of("events twice", twice(event.id for event in state.events)),
        exactly("items open", open_items, sum(item.is_open for item in state.items)),
        none_of("discrepancies that the gateway finds", await discrepancies(url)),
        *([none_of("discrepancies that the wallet finds", await discrepancies(ledger))] if ledger else []),
    )


def _as_sent(entry: Entry, sent: Mapping[str, Win], reference: str) -> bool:
    won = sent.get(reference)
    return won is not None and (entry.user_id, entry.currency, entry.amount) == (won.user_id, won.currency, won.amount)


def _differences(credited: Mapping[str, Entry], entries: Mapping[str, Entry]) -> list[str]:
    return [
        reference for reference in credited.keys() | entries.keys() if credited.get(reference) != entries.get(reference)
    ]


def _unbalanced(state: LedgerState) -> list[Account]:
    expected = defaultdict(Decimal, state.opening)
    for entry in state.entries.values():
        expected[entry.user_id, entry.currency] += entry.amount
    return [account for account in expected if state.cash.get(account) != expected[account]]


def twice(values: Iterable[str]) -> list[str]:
    """Values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
