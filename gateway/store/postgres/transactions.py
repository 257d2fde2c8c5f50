"""Transactions: what the built-in ledger credited, and what the operator's wallet did."""

from datetime import UTC, datetime

from gateway.store import paging
from gateway.store.base import PageTokenUnknown
from gateway.store.models import Credit, Page
from gateway.store.postgres.codecs import CODEC
from gateway.store.postgres.connection import Connection
from gateway.store.reconciliation import ReconciliationItem
from gateway.store.rows import CREDIT_COLUMNS

_INSERT_WALLET_CREDIT = f"""
INSERT INTO wallet_credits ({CREDIT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (provider, reference) DO NOTHING
RETURNING 1
"""  # noqa: S608 - fixed fragments only

_HAS_WALLET_CREDIT = "SELECT 1 FROM wallet_credits WHERE provider = $1 AND reference = $2 AND user_id = $3"

_WALLET_CREDIT = f"""
SELECT {CREDIT_COLUMNS} FROM wallet_credits WHERE provider = $1 AND reference = $2
"""  # noqa: S608 - fixed fragments only

_FIND = f"""
SELECT {CREDIT_COLUMNS} FROM transactions WHERE provider = $1 AND reference = $2
UNION ALL
SELECT {CREDIT_COLUMNS} FROM wallet_credits WHERE provider = $1 AND reference = $2
LIMIT 1
"""  # noqa: S608 - fixed fragments only

_ORDER = "ORDER BY created_at DESC, provider DESC, reference DESC LIMIT $5"
_OF_USER = "user_id = $1 AND ($2::timestamptz IS NULL OR (created_at, provider, reference) < ($2, $3, $4))"

_CREDITS_OF = f"""
SELECT * FROM (
    (SELECT {CREDIT_COLUMNS} FROM transactions WHERE {_OF_USER} {_ORDER})
    UNION ALL
    (SELECT {CREDIT_COLUMNS} FROM wallet_credits WHERE {_OF_USER} {_ORDER})
) AS credit {_ORDER}
"""  # noqa: S608 - fixed fragments only


async def insert_wallet_credit(db: Connection, credit: Credit) -> bool:
    """Insert what the operator's wallet credited; False where it is known."""
    return await db.fetchval(_INSERT_WALLET_CREDIT, *CODEC.credit_values(credit)) is not None


async def wallet_credit(db: Connection, provider: str, reference: str) -> Credit:
    """What the operator's wallet credited, which is known to be stored."""
    known = await find_wallet_credit(db, provider, reference)
    assert known is not None  # noqa: S101 - never deleted
    return known


async def find_wallet_credit(db: Connection, provider: str, reference: str) -> Credit | None:
    """What the operator's wallet credited, where it is stored."""
    row = await db.fetchrow(_WALLET_CREDIT, provider, reference)
    return CODEC.credit(row) if row is not None else None


async def has_wallet_credit(db: Connection, item: ReconciliationItem) -> bool:
    """Whether the operator's wallet credited what the item is about."""
    return await db.fetchval(_HAS_WALLET_CREDIT, item.provider, item.reference, item.user_id) is not None


async def credit(db: Connection, provider: str, reference: str) -> Credit | None:
    """The transaction of a reference."""
    row = await db.fetchrow(_FIND, provider, reference)
    return CODEC.credit(row) if row is not None else None


async def credits_of(db: Connection, user_id: str, *, page_token: str = "", limit: int = 100) -> Page[Credit]:
    """A player's transactions, newest first. Raises PageTokenUnknown."""
    rows = await db.fetch(_CREDITS_OF, user_id, *_position(page_token), limit + 1)
    return paging.page_of(
        rows, limit, CODEC.credit, lambda row: (row["created_at"].isoformat(), row["provider"], row["reference"])
    )


def _position(page_token: str) -> tuple[datetime | None, str, str]:
    if not page_token:
        return None, "", ""
    created_at, provider, reference = paging.decode(page_token, 3)
    try:
        position = datetime.fromisoformat(created_at)
        in_utc = position.astimezone(UTC)
    except (ValueError, OverflowError):  # a time near year 1 or 9999 may have no equivalent in UTC
        position = None
    if position is None or position.tzinfo is None or "\0" in provider + reference:
        raise PageTokenUnknown("this page token belongs to another list; ask for the first page again")
    return in_utc, provider, reference
