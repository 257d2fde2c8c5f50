"""Postings, a whole batch in few statements, by the rules of gateway.store.posting.

What is read and written grows with the batch, the number of statements hardly: each statement hands the interpreter
over to the event loop and waits to get it back.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import chain
from typing import Any, Generic, cast

import msgspec

from gateway.store.base import RecordsT
from gateway.store.models import Credit
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
from gateway.store.sqlite import ceilings, events, items, journal, ledger
from gateway.store.sqlite.codecs import CODEC


class PostOne(msgspec.Struct, Generic[RecordsT], frozen=True):
    """One caller's posting as a separate operation. The writer executes those of a batch together instead."""

    request: PostingRequest[RecordsT]

    def __call__(self, db: sqlite3.Connection) -> RecordsT:
        (posted,) = post_batch(db, (self.request,))
        if isinstance(posted, Exception):
            raise posted
        return cast("RecordsT", posted)


def post_batch(db: sqlite3.Connection, requests: Sequence[PostingRequest[Any]]) -> Sequence[Posted]:
    """Post the requests, in their order, and return the records of each.

    Raises sqlite3.Error, and what a bug raises; the caller rolls back what was written by then.
    """
    snapshot = replace(
        _snapshot(db, lock_set(request.posting for request in requests)),
        windows=ceilings.read(db, windows_of(requests)),
    )
    posted, entries = post(requests, snapshot)
    _write(db, entries)
    return posted


def _snapshot(db: sqlite3.Connection, wanted: LockSet) -> LedgerSnapshot:
    users: set[str] = set()
    cash: dict[Account, Decimal] = {}
    found = db.execute(_accounts(_size(wanted.accounts)), _parameters(wanted.accounts))
    for user_id, currency, text in found:
        users.add(user_id)
        cash[user_id, currency] = Decimal(text)
    known: dict[Reference, Credit] = {}
    for row in db.execute(_transactions(_size(wanted.references)), _parameters(wanted.references)):
        credit = CODEC.credit(row)
        known[credit.content.provider, credit.content.reference] = credit
    return LedgerSnapshot(known, cash, frozenset(users))


def _write(db: sqlite3.Connection, entries: Entries) -> None:
    journal.insert(db, entries.exchanges)
    new_events = items.insert_with_events(db, entries.items_before)
    if entries.credits:
        ledger.insert_credits(db, entries.credits)
        ledger.update_cash(db, entries.cash)
        if entries.windows:
            ceilings.write(db, entries.windows)
        new_events.extend(entries.events)
        _resolve(db, entries)
    new_events.extend(items.insert_with_events(db, entries.items_after))
    if new_events:
        events.insert(db, new_events)


def _resolve(db: sqlite3.Connection, entries: Entries) -> None:
    references = [(posting.provider, posting.reference) for posting, _ in entries.resolving]
    rows = db.execute(_open_items(_size(references)), _parameters(references))
    have_open = {(provider, reference) for provider, reference in rows}
    for posting, now in entries.resolving:
        if (posting.provider, posting.reference) in have_open:
            items.resolve_credited(db, posting, now)


# --- Statements over many keys ----------------------------------------------------------------------------------------
# A statement's text has as many keys as the next power of two, the last key repeated: few texts stay prepared.


def _size(keys: Sequence[tuple[str, str]]) -> int:
    return 1 << (len(keys) - 1).bit_length()


def _parameters(keys: Sequence[tuple[str, str]]) -> list[str]:
    return list(chain(*keys, *([keys[-1]] * (_size(keys) - len(keys)))))


@cache
def _accounts(size: int) -> str:
    return f"""
        SELECT user_id, accounts.currency, cash FROM {_keys(size)}
        CROSS JOIN accounts ON accounts.user_id = keys.column1
    """  # noqa: S608 - fixed fragments only


@cache
def _transactions(size: int) -> str:
    return f"""
        SELECT {CREDIT_COLUMNS} FROM {_keys(size)}
        CROSS JOIN transactions ON provider = keys.column1 AND reference = keys.column2
    """  # noqa: S608 - fixed fragments only


@cache
def _open_items(size: int) -> str:
    return f"""
        SELECT provider, reference FROM {_keys(size)}
        CROSS JOIN reconciliation_items ON provider = keys.column1 AND reference = keys.column2
        WHERE resolved_at IS NULL
    """  # noqa: S608 - fixed fragments only


def _keys(size: int) -> str:
    """A table of pairs. CROSS JOIN makes SQLite look each of them up in the other table's index."""
    return f"(VALUES {', '.join(['(?, ?)'] * size)}) AS keys"
