"""Whether the books add up: every account against its transactions, every Result's transaction against its event.

Looked for by the server, in one snapshot, so that memory does not grow with the store. What the operator's wallet
credited is in nobody's account here, and stands only for its event.
"""

from collections.abc import Sequence

from gateway.store.audit import account_missing, cash_differs, events_differ, transaction_missing
from gateway.store.models import Discrepancy
from gateway.store.postgres.codecs import money
from gateway.store.postgres.connection import Connection

_CASH = """
SELECT user_id, currency, cash, opening + coalesce(credited, 0)
FROM accounts LEFT JOIN (
    SELECT user_id, currency, sum(amount) AS credited FROM transactions GROUP BY user_id, currency
) AS sums USING (user_id, currency)
WHERE cash <> opening + coalesce(credited, 0)
ORDER BY user_id, currency
"""

_WITHOUT_ACCOUNT = """
SELECT provider, reference, user_id, currency FROM transactions
WHERE NOT EXISTS (
    SELECT 1 FROM accounts
    WHERE accounts.user_id = transactions.user_id AND accounts.currency = transactions.currency
)
ORDER BY provider, reference
"""

_TOLD = """
WITH told AS MATERIALIZED (
    SELECT provider, reference, count(*) AS times FROM events WHERE type = 'RESULT_CREDITED'
    GROUP BY provider, reference
)
"""

# A Result that both the built-in ledger and the operator's wallet credited, one after the other, was told twice.
_NOT_TOLD_ONCE = f"""
{_TOLD}
SELECT provider, reference, coalesce(times, 0) - in_wallet AS times FROM (
    SELECT provider, reference, times, EXISTS (
        SELECT 1 FROM wallet_credits AS wallet
        WHERE wallet.provider = transactions.provider AND wallet.reference = transactions.reference
    )::integer AS in_wallet
    FROM transactions LEFT JOIN told USING (provider, reference) WHERE kind = 'RESULT'
) AS credited
WHERE coalesce(times, 0) - in_wallet <> 1
ORDER BY provider, reference
"""  # noqa: S608 - fixed fragments only

_WITHOUT_TRANSACTION = f"""
{_TOLD}
SELECT provider, reference FROM told
WHERE NOT EXISTS (
    SELECT 1 FROM transactions AS kept
    WHERE kept.provider = told.provider AND kept.reference = told.reference AND kind = 'RESULT'
) AND NOT EXISTS (
    SELECT 1 FROM wallet_credits AS wallet
    WHERE wallet.provider = told.provider AND wallet.reference = told.reference
)
ORDER BY provider, reference
"""  # noqa: S608 - fixed fragments only


async def find_discrepancies(db: Connection) -> Sequence[Discrepancy]:
    """Look at everything. The connection is the caller's alone, and may take minutes."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        return (
            *(
                cash_differs(user, currency, money(kept), money(due))
                for user, currency, kept, due in await db.fetch(_CASH)
            ),
            *(account_missing(*row) for row in await db.fetch(_WITHOUT_ACCOUNT)),
            *(events_differ(*row) for row in await db.fetch(_NOT_TOLD_ONCE)),
            *(transaction_missing(*row) for row in await db.fetch(_WITHOUT_TRANSACTION)),
        )
