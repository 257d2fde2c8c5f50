"""The audit on PostgreSQL: by the server, in one snapshot, so that memory does not grow with the store."""

from collections.abc import Sequence

from gateway.store.audit import (
    NOT_PUBLISHED_ONCE,
    WALLET_CREDITS,
    WITHOUT_ACCOUNT,
    WITHOUT_TRANSACTION,
    account_missing,
    cash_differs,
    events_differ,
    transaction_missing,
)
from gateway.store.exact import normalize
from gateway.store.models import Discrepancy
from gateway.store.postgres.connection import Connection

_CASH = """
SELECT user_id, currency, cash, opening + coalesce(credited, 0)
FROM accounts LEFT JOIN (
    SELECT user_id, currency, sum(amount) AS credited FROM transactions GROUP BY user_id, currency
) AS sums USING (user_id, currency)
WHERE cash <> opening + coalesce(credited, 0)
ORDER BY user_id, currency
"""

_NOT_PUBLISHED_ONCE = NOT_PUBLISHED_ONCE.format(wallets=WALLET_CREDITS)
_WITHOUT_TRANSACTION = WITHOUT_TRANSACTION.format(wallets=WALLET_CREDITS)


async def find_discrepancies(db: Connection) -> Sequence[Discrepancy]:
    """Compare all rows. The connection is the caller's alone, and this may take minutes."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        return (
            *(
                cash_differs(user, currency, normalize(cash), normalize(expected))
                for user, currency, cash, expected in await db.fetch(_CASH)
            ),
            *(account_missing(*row) for row in await db.fetch(WITHOUT_ACCOUNT)),
            *(events_differ(*row) for row in await db.fetch(_NOT_PUBLISHED_ONCE)),
            *(transaction_missing(*row) for row in await db.fetch(_WITHOUT_TRANSACTION)),
        )
