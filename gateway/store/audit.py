"""What an audit of the books looks for, the same on every engine: its queries, and how a discrepancy is named.

Every account is compared with its transactions, and every Result's transaction with its event. What the operator's
wallet credited is in no account here, and is compared with its event only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.store.models import Discrepancy

WITHOUT_ACCOUNT = """
SELECT provider, reference, user_id, currency FROM transactions
WHERE NOT EXISTS (
    SELECT 1 FROM accounts
    WHERE accounts.user_id = transactions.user_id AND accounts.currency = transactions.currency
)
ORDER BY provider, reference
"""

WALLET_CREDITS = "SELECT provider, reference FROM wallet_credits"

_PUBLISHED = """
WITH wallets AS ({wallets}), published AS MATERIALIZED (
    SELECT provider, reference, count(*) AS times FROM events WHERE type = 'RESULT_CREDITED'
    GROUP BY provider, reference
)
"""

# A Result that both the built-in ledger and the operator's wallet credited, one after the other, has two events.
NOT_PUBLISHED_ONCE = f"""
{_PUBLISHED}
SELECT provider, reference, coalesce(times, 0) - in_wallet AS times FROM (
    SELECT provider, reference, times, CASE WHEN EXISTS (
        SELECT 1 FROM wallets
        WHERE wallets.provider = transactions.provider AND wallets.reference = transactions.reference
    ) THEN 1 ELSE 0 END AS in_wallet
    FROM transactions LEFT JOIN published USING (provider, reference) WHERE kind = 'RESULT'
) AS credited
WHERE coalesce(times, 0) - in_wallet <> 1
ORDER BY provider, reference
"""  # noqa: S608 - fixed fragments only

WITHOUT_TRANSACTION = f"""
{_PUBLISHED}
SELECT provider, reference FROM published
WHERE NOT EXISTS (
    SELECT 1 FROM transactions AS known
    WHERE known.provider = published.provider AND known.reference = published.reference AND kind = 'RESULT'
) AND NOT EXISTS (
    SELECT 1 FROM wallets
    WHERE wallets.provider = published.provider AND wallets.reference = published.reference
)
ORDER BY provider, reference
"""  # noqa: S608 - fixed fragments only


@dataclass(frozen=True, slots=True)
class Audit:
    """How many rows were compared, and the discrepancies among them."""

    accounts: int
    transactions: int
    discrepancies: Sequence[Discrepancy]


def cash_differs(user_id: str, currency: str, actual: Decimal, expected: Decimal) -> Discrepancy:
    """An account does not hold its opening balance plus its transactions."""
    return Discrepancy(f"account {user_id!r} in {currency}", "cash", format(actual, "f"), format(expected, "f"))


def account_missing(provider: str, reference: str, user_id: str, currency: str) -> Discrepancy:
    """A transaction of the built-in ledger credits an account that does not exist."""
    account = f"account {user_id!r} in {currency}"
    return Discrepancy(_transaction(provider, reference), "user_id", "no account", account)


def events_differ(provider: str, reference: str, actual: int) -> Discrepancy:
    """A Result's transaction has no RESULT_CREDITED event, or more than one."""
    return Discrepancy(_transaction(provider, reference), "events", str(actual), "1")


def transaction_missing(provider: str, reference: str) -> Discrepancy:
    """A RESULT_CREDITED event has no transaction."""
    return Discrepancy(f"event RESULT_CREDITED of {provider} {reference!r}", "reference", "no transaction", "1")


def _transaction(provider: str, reference: str) -> str:
    return f"transaction {provider} {reference!r}"
