"""Postings, a whole batch in few statements: the books judge, and this reads and writes for them.

Accounts are locked first, in their order, so that batches of several gateways never wait for each other in a circle.
What is kept under a reference is read in a statement after that, which sees what the others committed meanwhile.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gateway.store.models import Credit, Posting
from gateway.store.postgres import items, transactions
from gateway.store.postgres.codecs import arrays, money
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
    needs,
    post,
)

_LOCK_ACCOUNTS = """
SELECT user_id, currency, cash
FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency) JOIN accounts USING (user_id, currency)
ORDER BY user_id, currency
FOR NO KEY UPDATE OF accounts
"""

_THERE = """
SELECT user_id, currency FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
JOIN accounts USING (user_id, currency)
"""

_FREE_ACCOUNTS = f"{_LOCK_ACCOUNTS} SKIP LOCKED"

_CREDITS = f"""
SELECT {transactions.COLUMNS}
FROM unnest($1::text[], $2::text[]) AS wanted (provider, reference) JOIN transactions USING (provider, reference)
"""  # noqa: S608 - fixed fragments only

_USERS = """
SELECT user_id FROM unnest($1::text[]) AS wanted (user_id)
WHERE EXISTS (SELECT 1 FROM accounts WHERE accounts.user_id = wanted.user_id)
"""

# The parts of one statement do not see each other, and need not: they write other tables. Sorted, so that two gateways
# that credit the same references wait for each other in one order.
_ENTER = f"""
WITH credited AS (
    INSERT INTO transactions ({transactions.COLUMNS})
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
    """Another gateway credited a reference of the batch since it was read: the whole batch is judged again."""


async def post_together(writing: UnitOfWork, requests: Sequence[PostingRequest[Any]]) -> list[Posted]:
    """Judge the requests and write what comes of them. Raises Overtaken."""
    known = await _kept(writing.db, needs(request.posting for request in requests))
    posted, entries = post(requests, known)
    await _enter(writing, entries)
    return posted


def account_of(posting: Posting) -> Account:
    """The account that a posting credits."""
    return (posting.user_id, posting.currency)


async def held_by_others(db: Connection, requests: Sequence[PostingRequest[Any]]) -> frozenset[Account]:
    """Accounts of the requests that are there and that somebody else has locked."""
    wanted = needs(request.posting for request in requests).accounts
    async with db.transaction():
        there = await db.fetch(_THERE, *arrays(wanted))
        free = await db.fetch(_FREE_ACCOUNTS, *arrays(wanted))
    return frozenset((row[0], row[1]) for row in there) - {(row[0], row[1]) for row in free}


async def _kept(db: Connection, wanted: LockSet) -> LedgerSnapshot:
    cash = await _lock_accounts(db, wanted.accounts)
    known = await _credits(db, wanted.references)
    missing = {user_id for user_id, currency in wanted.accounts if (user_id, currency) not in cash}
    users = await db.fetch(_USERS, sorted(missing)) if missing else ()
    return LedgerSnapshot(known, cash, frozenset(row["user_id"] for row in users))


async def _lock_accounts(db: Connection, accounts: Sequence[Account]) -> dict[Account, Decimal]:
    rows = await db.fetch(_LOCK_ACCOUNTS, *arrays(accounts))
    return {(user_id, currency): money(cash) for user_id, currency, cash in rows}


async def _credits(db: Connection, references: Sequence[Reference]) -> dict[Reference, Credit]:
    rows = await db.fetch(_CREDITS, *arrays(references))
    return {(row[0], row[1]): transactions.credit_of(row) for row in rows}


async def _enter(writing: UnitOfWork, entries: Entries) -> None:
    if entries.items_before:
        writing.events += await items.keep_telling(writing.db, entries.items_before)
    if entries.credits:
        await _credit(writing.db, entries)
    if entries.items_after:
        writing.events += await items.keep_telling(writing.db, entries.items_after)
    writing.lines += entries.exchanges
    writing.events += entries.events


async def _credit(db: Connection, entries: Entries) -> None:
    changed = [(user_id, currency, cash) for (user_id, currency), cash in entries.cash.items()]
    entered = [transactions.row(credit) for credit in entries.credits]
    if await db.fetchval(_ENTER, *arrays(entered), *arrays(changed)) != len(entered):
        raise Overtaken
    await items.resolve_credited(db, entries.resolving)
