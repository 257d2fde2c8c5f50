"""The built-in ledger: accounts, and postings that are applied once.

A posting is judged by its reference first, then by the account, then by the currency; only what passes moves money.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Rounded
from uuid import uuid4

from gateway.store.interface import ContentDiffers, Narrative
from gateway.store.records import AccountOpened, Applied, Balance, Posting, PostingFault, PostingRefused
from gateway.store.sqlite import events, items, journal
from gateway.store.sqlite.columns import money_text, time_text

_EXACT = Context(prec=200, traps=[Inexact, Rounded, InvalidOperation])
"""Adds without rounding, or raises: the widest amount has 32 digits, and no number of credits comes near 200."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A transaction: which credit it is, what it stands for, and what its account holds at present."""

    kind: str
    transaction_id: str
    content: Posting
    cash: Decimal


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


def apply(
    db: sqlite3.Connection,
    posting: Posting,
    now: datetime,
    narrate: Callable[[Applied | PostingRefused], Narrative],
) -> Applied | PostingRefused:
    """Apply a posting once, and keep what is said of it."""
    result = _judge(db, posting, now)
    narrative = narrate(result)
    if narrative.exchange is not None:
        journal.keep(db, narrative.exchange)
    applied_first = isinstance(result, Applied) and not result.replayed
    if applied_first:
        # Not on a replay: an item kept after the credit is about another content, and stays for a person.
        items.resolve_credited(db, posting, now)
    item_is_new = narrative.item is not None and items.keep(db, narrative.item)
    if narrative.event is not None and (applied_first or item_is_new):
        events.keep(db, narrative.event)
    return result


def remember_providers(db: sqlite3.Connection, names: frozenset[str]) -> None:
    """Keep the names of configured providers."""
    db.executemany(
        "INSERT INTO providers (name) VALUES (?) ON CONFLICT DO NOTHING", [(name,) for name in sorted(names)]
    )


def money_providers(db: sqlite3.Connection) -> frozenset[str]:
    """Remembered names that transactions are kept of."""
    rows = db.execute(
        "SELECT name FROM providers WHERE EXISTS (SELECT 1 FROM transactions WHERE transactions.provider = name)"
    )
    return frozenset(row["name"] for row in rows)


def _judge(db: sqlite3.Connection, posting: Posting, now: datetime) -> Applied | PostingRefused:
    kept = _find(db, posting.provider, posting.reference)
    if kept is not None:
        return _again(kept, posting)
    promo = _promo(posting)
    promo_kept = _find(db, promo.provider, promo.reference) if promo is not None else None
    if promo is not None and not _fits(promo, posting, promo_kept):
        return PostingRefused(PostingFault.REFERENCE_REUSED, "promo_reference")
    before = balance(db, posting.user_id, posting.currency)
    if isinstance(before, PostingRefused):
        return before
    transaction_id = _insert(db, "RESULT", posting, now)
    cash = _EXACT.add(before.cash, posting.amount)
    if promo is not None and promo_kept is None:
        _insert(db, "PROMO", promo, now)
        cash = _EXACT.add(cash, promo.amount)
    text = money_text(cash)
    db.execute(
        "UPDATE accounts SET cash = ? WHERE user_id = ? AND currency = ?", (text, posting.user_id, posting.currency)
    )
    return Applied(transaction_id, posting.currency, Decimal(text), replayed=False)


def _again(kept: _Kept, posting: Posting) -> Applied | PostingRefused:
    if kept.kind != "RESULT":
        return PostingRefused(PostingFault.REFERENCE_REUSED, "reference")
    if field := _first_difference(kept.content, posting):
        return PostingRefused(PostingFault.REFERENCE_REUSED, field)
    return Applied(kept.transaction_id, posting.currency, kept.cash, replayed=True)


def _promo(posting: Posting) -> Posting | None:
    """The promotional prize as the credit that it is, under its own reference."""
    if posting.promo_amount is None:
        return None
    return Posting(
        provider=posting.provider,
        reference=posting.promo_reference,
        user_id=posting.user_id,
        currency=posting.currency,
        amount=posting.promo_amount,
        round_id=posting.round_id,
        game_id=posting.game_id,
        session_id=posting.session_id,
    )


def _fits(promo: Posting, posting: Posting, kept: _Kept | None) -> bool:
    """Whether a prize's reference is free, or stands for this very prize."""
    if promo.reference == posting.reference:
        return False
    return kept is None or (kept.kind == "PROMO" and not _first_difference(kept.content, promo))


def _first_difference(kept: Posting, posting: Posting) -> str:
    """The first field that differs of those that make the content; amounts by value, the session not at all."""
    compared = ("user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference")
    return next((field for field in compared if getattr(kept, field) != getattr(posting, field)), "")


def _find(db: sqlite3.Connection, provider: str, reference: str) -> _Kept | None:
    row = db.execute(
        """
        SELECT transactions.*, accounts.cash FROM transactions JOIN accounts USING (user_id, currency)
        WHERE provider = ? AND reference = ?
        """,
        (provider, reference),
    ).fetchone()
    if row is None:
        return None
    content = Posting(
        provider=row["provider"],
        reference=row["reference"],
        user_id=row["user_id"],
        currency=row["currency"],
        amount=Decimal(row["amount"]),
        round_id=row["round_id"],
        game_id=row["game_id"],
        session_id=row["session_id"],
        promo_amount=Decimal(row["promo_amount"]) if row["promo_amount"] is not None else None,
        promo_reference=row["promo_reference"],
    )
    return _Kept(row["kind"], row["transaction_id"], content, Decimal(row["cash"]))


def _insert(db: sqlite3.Connection, kind: str, credit: Posting, now: datetime) -> str:
    """Keep one credit, and answer its transaction id."""
    transaction_id = uuid4().hex
    db.execute(
        """
        INSERT INTO transactions (
            provider, reference, kind, transaction_id, user_id, currency, amount, round_id, game_id, session_id,
            promo_amount, promo_reference, created_at
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            credit.provider,
            credit.reference,
            kind,
            transaction_id,
            credit.user_id,
            credit.currency,
            money_text(credit.amount),
            credit.round_id,
            credit.game_id,
            credit.session_id,
            money_text(credit.promo_amount) if credit.promo_amount is not None else None,
            credit.promo_reference,
            time_text(now),
        ),
    )
    return transaction_id
