"""Whether the books add up: every account against its transactions, every Result's transaction against its event.

Read in one snapshot, row by row, so that memory does not grow with the store. What the operator's wallet credited is in
nobody's account here, and stands only for its event.
"""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from itertools import groupby

from gateway.store.audit import Audit, account_missing, cash_differs, events_differ, transaction_missing
from gateway.store.models import Discrepancy
from gateway.store.posting import EXACT
from gateway.store.sqlite.ledger import has_wallet_credits

_CASH = """
    SELECT accounts.user_id, accounts.currency, opening, cash, amount
    FROM accounts LEFT JOIN transactions USING (user_id, currency)
    ORDER BY accounts.user_id, accounts.currency
"""

_WITHOUT_ACCOUNT = """
    SELECT provider, reference, user_id, currency FROM transactions
    WHERE NOT EXISTS (
        SELECT 1 FROM accounts
        WHERE accounts.user_id = transactions.user_id AND accounts.currency = transactions.currency
    )
    ORDER BY provider, reference
"""

_WALLETS = "SELECT provider, reference FROM wallet_credits"
_NO_WALLETS = "SELECT '' AS provider, '' AS reference WHERE 0"

_TOLD = """
    WITH wallets AS ({wallets}),
    told AS MATERIALIZED (
        SELECT provider, reference, count(*) AS times FROM events WHERE type = 'RESULT_CREDITED'
        GROUP BY provider, reference
    )
"""

_NOT_TOLD_ONCE = """
    SELECT provider, reference, coalesce(times, 0) - in_wallet AS times FROM (
        SELECT provider, reference, times, EXISTS (
            SELECT 1 FROM wallets
            WHERE wallets.provider = transactions.provider AND wallets.reference = transactions.reference
        ) AS in_wallet
        FROM transactions LEFT JOIN told USING (provider, reference) WHERE kind = 'RESULT'
    )
    WHERE coalesce(times, 0) - in_wallet <> 1
    ORDER BY provider, reference
"""

_WITHOUT_TRANSACTION = """
    SELECT provider, reference FROM told
    WHERE NOT EXISTS (
        SELECT 1 FROM transactions AS kept
        WHERE kept.provider = told.provider AND kept.reference = told.reference AND kind = 'RESULT'
    ) AND NOT EXISTS (
        SELECT 1 FROM wallets WHERE wallets.provider = told.provider AND wallets.reference = told.reference
    )
    ORDER BY provider, reference
"""


def audit(db: sqlite3.Connection) -> Audit:
    """Look at everything, also in a database that only a release before this one has opened."""
    told = _TOLD.format(wallets=_WALLETS if has_wallet_credits(db) else _NO_WALLETS)
    return Audit(
        accounts=_count(db, "accounts"),
        transactions=_count(db, "transactions"),
        discrepancies=(
            *_cash(db),
            *(account_missing(*row) for row in db.execute(_WITHOUT_ACCOUNT)),
            *(events_differ(*row) for row in db.execute(told + _NOT_TOLD_ONCE)),
            *(transaction_missing(*row) for row in db.execute(told + _WITHOUT_TRANSACTION)),
        ),
    )


def _cash(db: sqlite3.Connection) -> Iterator[Discrepancy]:
    # Summed here: SQLite's own numbers are binary floats.
    for (user_id, currency, opening, cash), rows in groupby(db.execute(_CASH), key=lambda row: tuple(row[:4])):
        kept = Decimal(cash)
        credited = (Decimal(row[4]) for row in rows if row[4] is not None)
        expected = reduce(EXACT.add, credited, Decimal(opening))
        if kept != expected:
            yield cash_differs(user_id, currency, kept, expected)


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - fixed names
