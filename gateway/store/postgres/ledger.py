"""The built-in ledger's accounts, the operator's wallet's outcomes of Results, and the providers that have money."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from gateway.store.base import ContentDiffers, RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.exact import normalize
from gateway.store.models import (
    AccountOpened,
    Applied,
    Balance,
    Credit,
    CreditKind,
    Exchange,
    Posting,
    PostingFault,
    PostingRefused,
    WalletKind,
)
from gateway.store.postgres import ceilings, items, transactions
from gateway.store.postgres.codecs import require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork
from gateway.store.posting import first_difference, resolve_repeated_credit
from gateway.store.reconciliation import ReconciliationKind

_OPEN = """
INSERT INTO accounts (user_id, currency, opening, cash, opened_at) VALUES ($1, $2, $3, $3, $4)
ON CONFLICT (user_id, currency) DO NOTHING
RETURNING 1
"""

_BALANCE = """
SELECT (SELECT cash FROM accounts WHERE user_id = $1 AND currency = $2),
    EXISTS (SELECT 1 FROM accounts WHERE user_id = $1)
"""

# By the first reference in order, which the index has: asked whether any exists, the planner takes most rows to be of
# each provider, and reads all of the table for one that has none.
MONEY_PROVIDERS = """
SELECT name FROM providers
WHERE (SELECT reference FROM transactions WHERE provider = name ORDER BY reference LIMIT 1) IS NOT NULL
    OR (SELECT reference FROM wallet_credits WHERE provider = name ORDER BY reference LIMIT 1) IS NOT NULL
"""

_WALLET_KINDS = "SELECT EXISTS (SELECT 1 FROM transactions), EXISTS (SELECT 1 FROM wallet_credits)"


async def open_account(
    work: UnitOfWork, user_id: str, currency: str, opening: Decimal, now: datetime, line: Exchange | None = None
) -> AccountOpened:
    """Open an account, or answer again as the first time. Raises ContentDiffers('opening_balance')."""
    # Inserted first and read second: another gateway may open the same account between any two statements.
    opened = await work.db.fetchval(_OPEN, user_id, currency, opening, require_aware(now)) is not None
    known = normalize(
        await work.db.fetchval("SELECT opening FROM accounts WHERE user_id = $1 AND currency = $2", user_id, currency)
    )
    if known != opening:
        raise ContentDiffers("opening_balance")
    if opened and line is not None:
        work.lines.append(line)
    return AccountOpened(user_id, currency, known)


async def balance(db: Connection, user_id: str, currency: str) -> Balance | PostingRefused:
    """What the account holds, or why there is none."""
    row = await db.fetchrow(_BALANCE, user_id, currency)
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    cash, has_another = row
    if cash is not None:
        return Balance(currency, normalize(cash))
    if has_another:
        return PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")
    return PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")


async def record_outcome(
    work: UnitOfWork,
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
        is_new, outcome = await _record_wallet_credit(work.db, posting, outcome, now)
    if limited:
        await ceilings.settle(work.db, posting, now, new=is_new)
    records = records_of(outcome)
    if records.item is not None:
        is_new = bool(await items.insert(work.db, [records.item])) or is_new
    if records.exchange is not None:
        work.lines.append(records.exchange)
    if records.event is not None and is_new:
        work.events.append(records.event)
    return records


async def _record_wallet_credit(
    db: Connection, posting: Posting, applied: Applied, now: datetime
) -> tuple[bool, Applied | PostingRefused]:
    """Whether the credit is new, and the outcome. Items that it settles are resolved."""
    # Inserted first and read second: another gateway may insert the same credit between any two statements.
    if await transactions.insert_wallet_credit(db, Credit(CreditKind.RESULT, applied.transaction_id, posting, now)):
        await items.resolve_credited(db, [(posting, now)])
        return True, applied
    known = await transactions.wallet_credit(db, posting.provider, posting.reference)
    outcome = resolve_repeated_credit(known, posting, applied)
    if isinstance(outcome, Applied):
        # A refusal stored after the credit is about another content and stays open; what was unknown is known now.
        await items.resolve_kind(
            db, ReconciliationKind.RESULT_UNKNOWN, posting.provider, posting.reference, items.CREDITED, now
        )
    return False, outcome


async def admit(work: UnitOfWork, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
    """Count a Result before the operator's wallet is asked, or refuse it. What is credited already passes."""
    known = await transactions.find_wallet_credit(work.db, posting.provider, posting.reference)
    if known is not None and not first_difference(known.content, posting):
        return None
    return await ceilings.admit(work.db, posting, ceiling, now)


async def remember_providers(work: UnitOfWork, names: frozenset[str]) -> None:
    """Insert the names of configured providers."""
    await work.db.execute(
        "INSERT INTO providers (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING", sorted(names)
    )


async def wallet_kinds(db: Connection) -> frozenset[WalletKind]:
    """The wallets that credited what is stored."""
    row = await db.fetchrow(_WALLET_KINDS)
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return frozenset(
        kind for kind, credited in zip((WalletKind.BUILTIN, WalletKind.OPERATORS), row, strict=True) if credited
    )


async def money_providers(db: Connection) -> frozenset[str]:
    """Remembered names that have transactions."""
    return frozenset(row["name"] for row in await db.fetch(MONEY_PROVIDERS))
