"""The audit on SQLite: in one snapshot, row by row, so that memory does not grow with the store."""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from itertools import groupby

from gateway.store.audit import (
    NOT_PUBLISHED_ONCE,
    WALLET_CREDITS,
    WITHOUT_ACCOUNT,
    WITHOUT_TRANSACTION,
    Audit,
    account_missing,
    cash_differs,
    events_differ,
    transaction_missing,
)
from gateway.store.exact import EXACT
from gateway.store.models import Discrepancy
from gateway.store.sqlite.ledger import has_wallet_credits

_CASH = """
    SELECT accounts.user_id, accounts.currency, opening, cash, amount
    FROM accounts LEFT JOIN transactions USING (user_id, currency)
    ORDER BY accounts.user_id, accounts.currency
"""

_NO_WALLET_CREDITS = "SELECT '' AS provider, '' AS reference WHERE 0"


def audit(db: sqlite3.Connection) -> Audit:
    """Compare all rows, also in a database that only a release before this one has opened."""
    wallets = WALLET_CREDITS if has_wallet_credits(db) else _NO_WALLET_CREDITS
    return Audit(
        accounts=_count(db, "accounts"),
        transactions=_count(db, "transactions"),
        discrepancies=(
            *_cash(db),
            *(account_missing(*row) for row in db.execute(WITHOUT_ACCOUNT)),
            *(events_differ(*row) for row in db.execute(NOT_PUBLISHED_ONCE.format(wallets=wallets))),
            *(transaction_missing(*row) for row in db.execute(WITHOUT_TRANSACTION.format(wallets=wallets))),
        ),
    )


def _cash(db: sqlite3.Connection) -> Iterator[Discrepancy]:
    # Summed here: SQLite's own numbers are binary floats.
    for (user_id, currency, opening, cash), rows in groupby(db.execute(_CASH), key=lambda row: tuple(row[:4])):
        held = Decimal(cash)
        credited = (Decimal(row[4]) for row in rows if row[4] is not None)
        expected = reduce(EXACT.add, credited, Decimal(opening))
        if held != expected:
            yield cash_differs(user_id, currency, held, expected)


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - fixed names
