"""The built-in ledger's accounts, every credit that stands, and what the operator's wallet credited."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from gateway.store import paging
from gateway.store.base import ContentDiffers, RecordsT
from gateway.store.models import (
    AccountOpened,
    Applied,
    Balance,
    Credit,
    CreditKind,
    Page,
    Posting,
    PostingFault,
    PostingRefused,
    ReconciliationItem,
    ReconciliationKind,
    WalletKind,
)
from gateway.store.posting import resolve_repeated_credit
from gateway.store.sqlite import events, items, journal
from gateway.store.sqlite.codecs import money_text, time_of, time_text

COLUMNS = (
    "provider, reference, kind, transaction_id, user_id, currency, amount, round_id, game_id, session_id, "
    "promo_amount, promo_reference, created_at"
)
"""Of a credit, in `transactions` and in `wallet_credits`, as `credit_of` reads them."""

_VALUES = f"({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def open_account(db: sqlite3.Connection, user_id: str, currency: str, opening: Decimal, now: datetime) -> AccountOpened:
    """Open an account, or answer again as the first time. Raises ContentDiffers('opening_balance')."""
    row = db.execute("SELECT opening FROM accounts WHERE user_id = ? AND currency = ?", (user_id, currency)).fetchone()
    if row is None:
        text = money_text(opening)
        db.execute(
            "INSERT INTO accounts (user_id, currency, opening, cash, opened_at) VALUES (?, ?, ?, ?, ?)",
            (user_id, currency, text, text, time_text(now)),
        )
        return AccountOpened(user_id, currency, Decimal(text))
    known = Decimal(row["opening"])
    if known != opening:
        raise ContentDiffers("opening_balance")
    return AccountOpened(user_id, currency, known)


def balance(db: sqlite3.Connection, user_id: str, currency: str) -> Balance | PostingRefused:
    """What the account holds, or why there is none."""
    row = db.execute("SELECT cash FROM accounts WHERE user_id = ? AND currency = ?", (user_id, currency)).fetchone()
    if row is not None:
        return Balance(currency, Decimal(row["cash"]))
    if db.execute("SELECT 1 FROM accounts WHERE user_id = ? LIMIT 1", (user_id,)).fetchone() is None:
        return PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    return PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")


def keep_credits(db: sqlite3.Connection, credits: Iterable[Credit]) -> None:
    """Keep transactions of the built-in ledger."""
    db.executemany(f"INSERT INTO transactions {_VALUES}", map(_row, credits))


def keep_cash(db: sqlite3.Connection, cash: Mapping[tuple[str, str], Decimal]) -> None:
    """Keep what accounts hold, by (user_id, currency)."""
    db.executemany(
        "UPDATE accounts SET cash = ? WHERE user_id = ? AND currency = ?",
        [(money_text(held), user_id, currency) for (user_id, currency), held in cash.items()],
    )


def record_outcome(
    db: sqlite3.Connection,
    posting: Posting,
    outcome: Applied | PostingRefused,
    records_of: Callable[[Applied | PostingRefused], RecordsT],
    now: datetime,
) -> RecordsT:
    """Store what the operator's wallet made of a posting: its credit, once, and its records, which are returned."""
    happened = False
    if isinstance(outcome, Applied):
        happened, outcome = _wallet_credited(db, posting, outcome, now)
    records = records_of(outcome)
    if records.exchange is not None:
        journal.keep(db, records.exchange)
    if records.item is not None:
        happened = items.keep(db, records.item) or happened
    if records.event is not None and happened:
        events.keep(db, records.event)
    return records


def _wallet_credited(
    db: sqlite3.Connection, posting: Posting, told: Applied, now: datetime
) -> tuple[bool, Applied | PostingRefused]:
    """Whether the credit is new, and what it comes to. Items that it settles are resolved."""
    credit = Credit(CreditKind.RESULT, told.transaction_id, posting, now)
    kept = db.execute(
        f"INSERT INTO wallet_credits {_VALUES} ON CONFLICT (provider, reference) DO NOTHING",
        _row(credit),
    )
    if kept.rowcount == 1:
        items.resolve_credited(db, posting, now)
        return True, told
    known = _kept("wallet_credits", db, posting.provider, posting.reference)
    assert known is not None  # noqa: S101 - what was in the way of the new one
    outcome = resolve_repeated_credit(known, posting, told)
    if isinstance(outcome, Applied):
        # A refusal kept behind the credit is about another content, and stays for a person; what was unknown is known.
        items.resolve_kind(
            db, ReconciliationKind.RESULT_UNKNOWN, posting.provider, posting.reference, items.CREDITED, now
        )
    return False, outcome


def is_wallets(db: sqlite3.Connection, item: ReconciliationItem) -> bool:
    """Whether the operator's wallet told that it credited what the item is about."""
    found = db.execute(
        "SELECT 1 FROM wallet_credits WHERE provider = ? AND reference = ? AND user_id = ?",
        (item.provider, item.reference, item.user_id),
    )
    return found.fetchone() is not None


def credit(db: sqlite3.Connection, provider: str, reference: str) -> Credit | None:
    """The transaction of a reference, the built-in ledger's first."""
    return _kept("transactions", db, provider, reference) or _kept("wallet_credits", db, provider, reference)


def _kept(table: str, db: sqlite3.Connection, provider: str, reference: str) -> Credit | None:
    row = db.execute(
        f"SELECT {COLUMNS} FROM {table} WHERE provider = ? AND reference = ?",  # noqa: S608 - fixed names
        (provider, reference),
    ).fetchone()
    return credit_of(row) if row is not None else None


def credits_of(db: sqlite3.Connection, user_id: str, page_token: str, limit: int) -> Page[Credit]:
    """A player's transactions, newest first. Raises PageTokenUnknown."""
    older = ""
    values: dict[str, str | int] = {"user_id": user_id, "limit": limit}
    if page_token:
        older = "AND (created_at, provider, reference) < (:created_at, :provider, :reference)"
        values.update(zip(("created_at", "provider", "reference"), paging.decode(page_token, 3), strict=True))
    rows = db.execute(
        f"""
        SELECT {COLUMNS} FROM transactions WHERE user_id = :user_id {older}
        UNION ALL SELECT {COLUMNS} FROM wallet_credits WHERE user_id = :user_id {older}
        ORDER BY created_at DESC, provider DESC, reference DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        values,
    ).fetchall()
    found = tuple(credit_of(row) for row in rows[:limit])
    if len(rows) <= limit:
        return Page(found)
    last = found[-1]
    return Page(found, paging.encode(time_text(last.created_at), last.content.provider, last.content.reference))


def remember_providers(db: sqlite3.Connection, names: frozenset[str]) -> None:
    """Keep the names of configured providers."""
    db.executemany(
        "INSERT INTO providers (name) VALUES (?) ON CONFLICT DO NOTHING", [(name,) for name in sorted(names)]
    )


def money_providers(db: sqlite3.Connection) -> frozenset[str]:
    """Remembered names that credits are kept of, also in a database that has not seen this release."""
    kept = ["transactions"]
    if has_wallet_credits(db):
        kept.append("wallet_credits")
    known = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE provider = name)" for table in kept)  # noqa: S608 - fixed names
    return frozenset(name for (name,) in db.execute(f"SELECT name FROM providers WHERE {known}"))  # noqa: S608 - the same


def creditors(db: sqlite3.Connection) -> frozenset[WalletKind]:
    """Who credited what is kept, also in a database that has not seen this release."""
    tables = {WalletKind.BUILTIN: "transactions"}
    if has_wallet_credits(db):
        tables[WalletKind.OPERATORS] = "wallet_credits"
    return frozenset(
        who
        for who, table in tables.items()
        if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - fixed names
    )


def has_wallet_credits(db: sqlite3.Connection) -> bool:
    """Whether the table is there: a database that only release 0.1.0 has opened has none."""
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'wallet_credits'").fetchone() is not None


def credit_of(row: sqlite3.Row) -> Credit:
    """A credit from a row of COLUMNS."""
    (
        provider,
        reference,
        kind,
        transaction_id,
        user_id,
        currency,
        amount,
        round_id,
        game_id,
        session_id,
        promo_amount,
        promo_reference,
        created_at,
    ) = row
    content = Posting(
        provider,
        reference,
        user_id,
        currency,
        Decimal(amount),
        round_id,
        game_id,
        session_id,
        Decimal(promo_amount) if promo_amount is not None else None,
        promo_reference,
    )
    return Credit(CreditKind(kind), transaction_id, content, time_of(created_at))


def _row(credit: Credit) -> tuple[str | None, ...]:
    content = credit.content
    return (
        content.provider,
        content.reference,
        credit.kind.value,
        credit.transaction_id,
        content.user_id,
        content.currency,
        money_text(content.amount),
        content.round_id,
        content.game_id,
        content.session_id,
        money_text(content.promo_amount) if content.promo_amount is not None else None,
        content.promo_reference,
        time_text(credit.created_at),
    )
