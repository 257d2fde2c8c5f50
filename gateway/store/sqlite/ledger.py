"""The built-in ledger's accounts and transactions, and what the operator's wallet credited."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from gateway.store import paging
from gateway.store.base import ContentDiffers, RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.models import (
    AccountOpened,
    Applied,
    Balance,
    Credit,
    CreditKind,
    Exchange,
    Page,
    Posting,
    PostingFault,
    PostingRefused,
    WalletKind,
)
from gateway.store.posting import first_difference, resolve_repeated_credit
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind
from gateway.store.rows import CREDIT_COLUMNS
from gateway.store.sqlite import ceilings, events, items, journal
from gateway.store.sqlite.codecs import CODEC, money_text, time_text

_VALUES = f"({CREDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def open_account(
    db: sqlite3.Connection,
    user_id: str,
    currency: str,
    opening: Decimal,
    now: datetime,
    line: Exchange | None = None,
) -> AccountOpened:
    """Open an account, or answer again as the first time. Raises ContentDiffers('opening_balance')."""
    row = db.execute("SELECT opening FROM accounts WHERE user_id = ? AND currency = ?", (user_id, currency)).fetchone()
    if row is None:
        text = money_text(opening)
        db.execute(
            "INSERT INTO accounts (user_id, currency, opening, cash, opened_at) VALUES (?, ?, ?, ?, ?)",
            (user_id, currency, text, text, time_text(now)),
        )
        if line is not None:
            journal.insert(db, [line])
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


def insert_credits(db: sqlite3.Connection, credits: Iterable[Credit]) -> None:
    """Insert transactions of the built-in ledger."""
    db.executemany(f"INSERT INTO transactions {_VALUES}", map(CODEC.credit_values, credits))


def update_cash(db: sqlite3.Connection, cash: Mapping[tuple[str, str], Decimal]) -> None:
    """Set what accounts hold, by (user_id, currency)."""
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
    *,
    limited: bool = False,
) -> RecordsT:
    """Store the operator's wallet's outcome of a posting: its credit, once, and its records, which are returned."""
    is_new = False
    if isinstance(outcome, Applied):
        is_new, outcome = _record_wallet_credit(db, posting, outcome, now)
    if limited:
        ceilings.settle(db, posting, now, new=is_new)
    records = records_of(outcome)
    if records.exchange is not None:
        journal.insert(db, [records.exchange])
    if records.item is not None:
        is_new = items.insert(db, records.item) or is_new
    if records.event is not None and is_new:
        events.insert(db, [records.event])
    return records


def _record_wallet_credit(
    db: sqlite3.Connection, posting: Posting, applied: Applied, now: datetime
) -> tuple[bool, Applied | PostingRefused]:
    """Whether the credit is new, and the outcome. Items that it settles are resolved."""
    credit = Credit(CreditKind.RESULT, applied.transaction_id, posting, now)
    inserted = db.execute(
        f"INSERT INTO wallet_credits {_VALUES} ON CONFLICT (provider, reference) DO NOTHING",
        CODEC.credit_values(credit),
    )
    if inserted.rowcount == 1:
        items.resolve_credited(db, posting, now)
        return True, applied
    known = wallet_credit(db, posting.provider, posting.reference)
    assert known is not None  # noqa: S101 - it conflicted with the new one
    outcome = resolve_repeated_credit(known, posting, applied)
    if isinstance(outcome, Applied):
        # A refusal stored after the credit is about another content and stays open; what was unknown is known now.
        items.resolve_kind(
            db, ReconciliationKind.RESULT_UNKNOWN, posting.provider, posting.reference, items.CREDITED, now
        )
    return False, outcome


def has_wallet_credit(db: sqlite3.Connection, item: ReconciliationItem) -> bool:
    """Whether the operator's wallet credited what the item is about."""
    found = db.execute(
        "SELECT 1 FROM wallet_credits WHERE provider = ? AND reference = ? AND user_id = ?",
        (item.provider, item.reference, item.user_id),
    )
    return found.fetchone() is not None


def credit(db: sqlite3.Connection, provider: str, reference: str) -> Credit | None:
    """The transaction of a reference, the built-in ledger's first."""
    return _find("transactions", db, provider, reference) or wallet_credit(db, provider, reference)


def admit(db: sqlite3.Connection, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
    """Count a Result before the operator's wallet is asked, or refuse it. What is credited already passes."""
    known = wallet_credit(db, posting.provider, posting.reference)
    if known is not None and not first_difference(known.content, posting):
        return None
    return ceilings.admit(db, posting, ceiling, now)


def wallet_credit(db: sqlite3.Connection, provider: str, reference: str) -> Credit | None:
    """What the operator's wallet credited."""
    return _find("wallet_credits", db, provider, reference)


def _find(table: str, db: sqlite3.Connection, provider: str, reference: str) -> Credit | None:
    row = db.execute(
        f"SELECT {CREDIT_COLUMNS} FROM {table} WHERE provider = ? AND reference = ?",  # noqa: S608 - fixed names
        (provider, reference),
    ).fetchone()
    return CODEC.credit(row) if row is not None else None


def credits_of(db: sqlite3.Connection, user_id: str, *, page_token: str = "", limit: int = 100) -> Page[Credit]:
    """A player's transactions, newest first. Raises PageTokenUnknown."""
    older = ""
    values: dict[str, str | int] = {"user_id": user_id, "limit": limit}
    if page_token:
        older = "AND (created_at, provider, reference) < (:created_at, :provider, :reference)"
        values.update(zip(("created_at", "provider", "reference"), paging.decode(page_token, 3), strict=True))
    rows = db.execute(
        f"""
        SELECT {CREDIT_COLUMNS} FROM transactions WHERE user_id = :user_id {older}
        UNION ALL SELECT {CREDIT_COLUMNS} FROM wallet_credits WHERE user_id = :user_id {older}
        ORDER BY created_at DESC, provider DESC, reference DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        values,
    ).fetchall()
    return paging.page_of(rows, limit, CODEC.credit, lambda row: (row["created_at"], row["provider"], row["reference"]))


def remember_providers(db: sqlite3.Connection, names: frozenset[str]) -> None:
    """Insert the names of configured providers."""
    db.executemany(
        "INSERT INTO providers (name) VALUES (?) ON CONFLICT DO NOTHING", [(name,) for name in sorted(names)]
    )


def money_providers(db: sqlite3.Connection) -> frozenset[str]:
    """Remembered names that have credits, also in a database that this release has not opened."""
    tables = ["transactions"]
    if has_wallet_credits(db):
        tables.append("wallet_credits")
    known = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE provider = name)" for table in tables)  # noqa: S608 - fixed names
    return frozenset(name for (name,) in db.execute(f"SELECT name FROM providers WHERE {known}"))  # noqa: S608 - the same


def wallet_kinds(db: sqlite3.Connection) -> frozenset[WalletKind]:
    """The wallets that credited what is stored, also in a database that this release has not opened."""
    tables = {WalletKind.BUILTIN: "transactions"}
    if has_wallet_credits(db):
        tables[WalletKind.OPERATORS] = "wallet_credits"
    return frozenset(
        kind
        for kind, table in tables.items()
        if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - fixed names
    )


def has_wallet_credits(db: sqlite3.Connection) -> bool:
    """Whether the table exists: it does not in a database that only release 0.1.0 has opened."""
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'wallet_credits'").fetchone() is not None
