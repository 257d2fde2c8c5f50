"""Postings, as many at once as have come: few statements for all of them, and the rules of gateway.store.posting.

What is read and written grows with the batch, the number of statements hardly: each statement hands the interpreter
over to the event loop and waits to get it back.
"""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from itertools import chain
from typing import Any, Generic, cast

import msgspec

from gateway.store.base import RecordsT
from gateway.store.models import Credit, Event, ReconciliationItem
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
from gateway.store.sqlite import events, items, journal, ledger


class PostOne(msgspec.Struct, Generic[RecordsT], frozen=True):
    """One caller's posting as an operation of its own. The writer carries those of a batch out together instead."""

    request: PostingRequest[RecordsT]

    def __call__(self, db: sqlite3.Connection) -> RecordsT:
        (posted,) = post_together(db, (self.request,))
        if isinstance(posted, Exception):
            raise posted
        return cast("RecordsT", posted)


def post_together(db: sqlite3.Connection, requests: Sequence[PostingRequest[Any]]) -> Sequence[Posted]:
    """Post the requests, in their order: what came of each.

    Raises sqlite3.Error, and what a bug raises; what was written by then is the caller's to roll back.
    """
    needed = needs(request.posting for request in requests)
    posted, entries = post(requests, _kept(db, needed))
    _write(db, entries)
    return posted


def _kept(db: sqlite3.Connection, needs: LockSet) -> LedgerSnapshot:
    users: set[str] = set()
    cash: dict[Account, Decimal] = {}
    found = db.execute(_accounts(_size(needs.accounts)), _parameters(needs.accounts))
    for user_id, currency, text in found:
        users.add(user_id)
        cash[user_id, currency] = Decimal(text)
    known: dict[Reference, Credit] = {}
    for row in db.execute(_transactions(_size(needs.references)), _parameters(needs.references)):
        credit = ledger.credit_of(row)
        known[credit.content.provider, credit.content.reference] = credit
    return LedgerSnapshot(known, cash, frozenset(users))


def _write(db: sqlite3.Connection, entries: Entries) -> None:
    journal.keep_all(db, entries.exchanges)
    told = _keep_items(db, entries.items_before)
    if entries.credits:
        ledger.keep_credits(db, entries.credits)
        ledger.keep_cash(db, entries.cash)
        told.extend(entries.events)
        _resolve(db, entries)
    told.extend(_keep_items(db, entries.items_after))
    if told:
        events.keep_all(db, told)


def _keep_items(db: sqlite3.Connection, found: Sequence[tuple[ReconciliationItem, Event | None]]) -> list[Event]:
    """The events of the items that are new."""
    return [event for item, event in found if items.keep(db, item) and event is not None]


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
        SELECT {ledger.COLUMNS} FROM {_keys(size)}
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
