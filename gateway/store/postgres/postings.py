"""Postings, a whole batch in few statements, by the rules of gateway.store.posting.

Accounts are locked first, in their order, so that batches of several gateways never deadlock. The transactions of the
references are read in a statement after that, which sees what other gateways committed meanwhile.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gateway.store.ceilings import Window
from gateway.store.exact import normalize
from gateway.store.models import Credit, Posting
from gateway.store.postgres import ceilings, items
from gateway.store.postgres.codecs import CODEC, arrays
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork
from gateway.store.posting import (
    Account,
    Entries,
    LedgerSnapshot,
    LockSet,
    Posted,
    PostingRequest,
    Reference,
    lock_set,
    post,
    windows_of,
)
from gateway.store.rows import CREDIT_COLUMNS

_LOCK_ACCOUNTS = """
SELECT user_id, currency, cash
FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency) JOIN accounts USING (user_id, currency)
ORDER BY user_id, currency
FOR NO KEY UPDATE OF accounts
"""

_EXISTING = """
SELECT user_id, currency FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
JOIN accounts USING (user_id, currency)
"""

_UNLOCKED_ACCOUNTS = f"{_LOCK_ACCOUNTS} SKIP LOCKED"

_CREDITS = f"""
SELECT {CREDIT_COLUMNS}
FROM unnest($1::text[], $2::text[]) AS wanted (provider, reference) JOIN transactions USING (provider, reference)
"""  # noqa: S608 - fixed fragments only

_USERS = """
SELECT user_id FROM unnest($1::text[]) AS wanted (user_id)
WHERE EXISTS (SELECT 1 FROM accounts WHERE accounts.user_id = wanted.user_id)
"""

# The parts of one statement do not see each other, and need not: they write different tables. Sorted, so that two
# gateways that credit the same references wait for each other in one order.
_INSERT = f"""
WITH credited AS (
    INSERT INTO transactions ({CREDIT_COLUMNS})
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::numeric[], $8::text[], $9::text[],
        $10::text[], $11::numeric[], $12::text[], $13::timestamptz[]
    ) AS credit (provider, reference)
    ORDER BY credit.provider, credit.reference
    ON CONFLICT (provider, reference) DO NOTHING
    RETURNING 1
), held AS (
    UPDATE accounts SET cash = changed.cash
    FROM unnest($14::text[], $15::text[], $16::numeric[]) AS changed (user_id, currency, cash)
    WHERE accounts.user_id = changed.user_id AND accounts.currency = changed.currency
)
SELECT count(*) FROM credited
"""  # noqa: S608 - fixed fragments only


class Overtaken(Exception):
    """Another gateway credited a reference of the batch since it was read: the whole batch is posted again."""


async def post_batch(work: UnitOfWork, requests: Sequence[PostingRequest[Any]]) -> list[Posted]:
    """Post the requests, and return the records of each. Raises Overtaken."""
    snapshot = await _snapshot(work.db, lock_set(request.posting for request in requests), windows_of(requests))
    posted, entries = post(requests, snapshot)
    await _write(work, entries)
    return posted


def account_of(posting: Posting) -> Account:
    """The account that a posting credits."""
    return (posting.user_id, posting.currency)


async def locked_by_others(db: Connection, requests: Sequence[PostingRequest[Any]]) -> frozenset[Account]:
    """Accounts of the requests that exist and that another session has locked."""
    wanted = lock_set(request.posting for request in requests).accounts
    async with db.transaction():
        existing = await db.fetch(_EXISTING, *arrays(wanted))
        unlocked = await db.fetch(_UNLOCKED_ACCOUNTS, *arrays(wanted))
    return frozenset((row[0], row[1]) for row in existing) - {(row[0], row[1]) for row in unlocked}


async def _snapshot(db: Connection, wanted: LockSet, windows: Sequence[Window]) -> LedgerSnapshot:
    cash = await _lock_accounts(db, wanted.accounts)
    minutes = await ceilings.lock(db, windows) if windows else {}
    known = await _credits(db, wanted.references)
    missing = {user_id for user_id, currency in wanted.accounts if (user_id, currency) not in cash}
    users = await db.fetch(_USERS, sorted(missing)) if missing else ()
    return LedgerSnapshot(known, cash, frozenset(row["user_id"] for row in users), minutes)


async def _lock_accounts(db: Connection, accounts: Sequence[Account]) -> dict[Account, Decimal]:
    rows = await db.fetch(_LOCK_ACCOUNTS, *arrays(accounts))
    return {(user_id, currency): normalize(cash) for user_id, currency, cash in rows}


async def _credits(db: Connection, references: Sequence[Reference]) -> dict[Reference, Credit]:
    rows = await db.fetch(_CREDITS, *arrays(references))
    return {(row[0], row[1]): CODEC.credit(row) for row in rows}


async def _write(work: UnitOfWork, entries: Entries) -> None:
    if entries.items_before:
        work.events += await items.insert_with_events(work.db, entries.items_before)
    if entries.credits:
        await _credit(work.db, entries)
    if entries.items_after:
        work.events += await items.insert_with_events(work.db, entries.items_after)
    work.lines += entries.exchanges
    work.events += entries.events


async def _credit(db: Connection, entries: Entries) -> None:
    changed = [(user_id, currency, cash) for (user_id, currency), cash in entries.cash.items()]
    inserted = [CODEC.credit_values(credit) for credit in entries.credits]
    if await db.fetchval(_INSERT, *arrays(inserted), *arrays(changed)) != len(inserted):
        raise Overtaken
    if entries.windows:
        await ceilings.write(db, entries.windows)
    await items.resolve_credited(db, entries.resolving)
