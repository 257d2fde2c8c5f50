"""How what does not add up is named, the same on every engine. Each names its subject and the field that differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.store.models import Discrepancy


@dataclass(frozen=True, slots=True)
class Audit:
    """How much was looked at, and what of it does not add up."""

    accounts: int
    transactions: int
    discrepancies: Sequence[Discrepancy]


def cash_differs(user_id: str, currency: str, kept: Decimal, expected: Decimal) -> Discrepancy:
    """An account does not hold its opening balance and what its transactions credited."""
    return Discrepancy(f"account {user_id!r} in {currency}", "cash", format(kept, "f"), format(expected, "f"))


def account_missing(provider: str, reference: str, user_id: str, currency: str) -> Discrepancy:
    """A transaction of the built-in ledger credits an account that is not there."""
    account = f"account {user_id!r} in {currency}"
    return Discrepancy(_transaction(provider, reference), "user_id", "no account", account)


def events_differ(provider: str, reference: str, kept: int) -> Discrepancy:
    """A Result's transaction has no RESULT_CREDITED event, or more than one."""
    return Discrepancy(_transaction(provider, reference), "events", str(kept), "1")


def transaction_missing(provider: str, reference: str) -> Discrepancy:
    """Subscribers were told of a credit that is not there."""
    return Discrepancy(f"event RESULT_CREDITED of {provider} {reference!r}", "reference", "no transaction", "1")


def _transaction(provider: str, reference: str) -> str:
    return f"transaction {provider} {reference!r}"
