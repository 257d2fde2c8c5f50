"""Transactions: what the built-in ledger credited, and what the operator's wallet told that it did."""

from datetime import UTC, datetime

import asyncpg

from gateway.store import paging
from gateway.store.base import PageTokenUnknown
from gateway.store.models import Credit, CreditKind, Page, Posting, ReconciliationItem
from gateway.store.postgres.codecs import Row, money, require_aware
from gateway.store.postgres.connection import Connection

COLUMNS = """
provider, reference, kind, transaction_id, user_id, currency, amount, round_id, game_id, session_id, promo_amount,
promo_reference, created_at
"""

_KEEP_WALLETS = f"""
INSERT INTO wallet_credits ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (provider, reference) DO NOTHING
RETURNING 1
"""  # noqa: S608 - fixed fragments only

_IS_WALLETS = "SELECT 1 FROM wallet_credits WHERE provider = $1 AND reference = $2 AND user_id = $3"

_WALLETS = f"""
SELECT {COLUMNS} FROM wallet_credits WHERE provider = $1 AND reference = $2
"""  # noqa: S608 - fixed fragments only

_FIND = f"""
SELECT {COLUMNS} FROM transactions WHERE provider = $1 AND reference = $2
UNION ALL
SELECT {COLUMNS} FROM wallet_credits WHERE provider = $1 AND reference = $2
LIMIT 1
"""  # noqa: S608 - fixed fragments only

_ORDER = "ORDER BY created_at DESC, provider DESC, reference DESC LIMIT $5"
_OF_USER = "user_id = $1 AND ($2::timestamptz IS NULL OR (created_at, provider, reference) < ($2, $3, $4))"

_OF = f"""
SELECT * FROM (
    (SELECT {COLUMNS} FROM transactions WHERE {_OF_USER} {_ORDER})
    UNION ALL
    (SELECT {COLUMNS} FROM wallet_credits WHERE {_OF_USER} {_ORDER})
) AS credit {_ORDER}
"""  # noqa: S608 - fixed fragments only


async def keep_wallets(db: Connection, credit: Credit) -> bool:
    """Keep what the operator's wallet credited; False where it is known."""
    return await db.fetchval(_KEEP_WALLETS, *row(credit)) is not None


async def wallets(db: Connection, provider: str, reference: str) -> Credit:
    """What the operator's wallet credited, which is known to be kept."""
    found = await db.fetchrow(_WALLETS, provider, reference)
    assert found is not None  # noqa: S101 - kept for good
    return credit_of(found)


async def is_wallets(db: Connection, item: ReconciliationItem) -> bool:
    """Whether the operator's wallet told that it credited what the item is about."""
    return await db.fetchval(_IS_WALLETS, item.provider, item.reference, item.user_id) is not None


async def find(db: Connection, provider: str, reference: str) -> Credit | None:
    """The transaction of a reference."""
    found = await db.fetchrow(_FIND, provider, reference)
    return credit_of(found) if found is not None else None


async def of_user(db: Connection, user_id: str, page_token: str, limit: int) -> Page[Credit]:
    """A player's transactions, newest first. Raises PageTokenUnknown."""
    position = _position(page_token)
    found = [credit_of(each) for each in await db.fetch(_OF, user_id, *position, limit + 1)]
    more = _token(found[limit - 1]) if len(found) > limit else ""
    return Page(tuple(found[:limit]), more)


def row(credit: Credit) -> Row:
    """A credit in the order of COLUMNS."""
    content = credit.content
    return (
        content.provider,
        content.reference,
        credit.kind.value,
        credit.transaction_id,
        content.user_id,
        content.currency,
        content.amount,
        content.round_id,
        content.game_id,
        content.session_id,
        content.promo_amount,
        content.promo_reference,
        require_aware(credit.created_at),
    )


def credit_of(row: asyncpg.Record) -> Credit:
    """The credit that `row` wrote."""
    provider, reference, kind, transaction_id, user_id, currency, amount, *rest = row
    round_id, game_id, session_id, promo_amount, promo_reference, created_at = rest
    content = Posting(
        provider=provider,
        reference=reference,
        user_id=user_id,
        currency=currency,
        amount=money(amount),
        round_id=round_id,
        game_id=game_id,
        session_id=session_id,
        promo_amount=money(promo_amount) if promo_amount is not None else None,
        promo_reference=promo_reference,
    )
    return Credit(CreditKind(kind), transaction_id, content, created_at)


def _token(credit: Credit) -> str:
    return paging.encode(credit.created_at.isoformat(), credit.content.provider, credit.content.reference)


def _position(page_token: str) -> tuple[datetime | None, str, str]:
    if not page_token:
        return None, "", ""
    created_at, provider, reference = paging.decode(page_token, 3)
    try:
        position = datetime.fromisoformat(created_at)
        in_utc = position.astimezone(UTC)
    except (ValueError, OverflowError):  # a moment near the end of time has none in UTC
        position = None
    if position is None or position.tzinfo is None or "\0" in provider + reference:
        raise PageTokenUnknown("this page token belongs to another list; ask for the first page again")
    return in_utc, provider, reference
