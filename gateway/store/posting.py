"""The built-in ledger's rules, the same on every engine: a batch of postings and a snapshot make entries.

An engine locks the `LockSet` of a batch, reads its snapshot, posts it and writes the entries, in one transaction. A
posting is checked by its reference first, then by the account, then by the currency; only one that passes moves money.
Each sees the effect of the earlier ones of its batch, so that duplicates in one batch are found. No SQL, no clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any, Generic

import msgspec
from msgspec import structs

from gateway.store import ceilings
from gateway.store.base import PostingRecords, RecordsT
from gateway.store.ceilings import Ceiling, Minutes, Window
from gateway.store.exact import EXACT, normalize
from gateway.store.ids import new_id
from gateway.store.models import (
    Applied,
    Credit,
    CreditKind,
    Event,
    Exchange,
    Posting,
    PostingFault,
    PostingRefused,
)
from gateway.store.reconciliation import ReconciliationItem

Reference = tuple[str, str]
"""(provider, reference)."""

Account = tuple[str, str]
"""(user_id, currency)."""

_COMPARED = ("user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference")
"""What makes a posting's content, in the order in which a difference is named: the session is not part of it."""


class PostingRequest(msgspec.Struct, Generic[RecordsT], frozen=True):
    """One caller's posting, and the function that makes the records stored with it."""

    posting: Posting
    now: datetime
    records_of: Callable[[Applied | PostingRefused], RecordsT]
    ceiling: Ceiling | None = None


@dataclass(frozen=True, slots=True)
class LockSet:
    """What a batch must lock and read, each sorted: the order in which locks are acquired."""

    references: tuple[Reference, ...]
    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """What is stored of a batch's lock set: what is not in it does not exist. `users` are those with any account."""

    credits: Mapping[Reference, Credit]
    cash: Mapping[Account, Decimal]
    users: frozenset[str]
    windows: Mapping[Window, Minutes] = field(default_factory=dict)


@dataclass(slots=True)
class Entries:
    """What a batch writes, in this order: a credit resolves only items that are inserted before it."""

    credits: list[Credit] = field(default_factory=list)
    cash: dict[Account, Decimal] = field(default_factory=dict)
    """What each account that changed holds."""
    windows: dict[Window, Minutes] = field(default_factory=dict)
    """The windows of ceilings that changed."""
    exchanges: list[Exchange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    items_before: list[tuple[ReconciliationItem, Event | None]] = field(default_factory=list)
    """Items that are inserted before credits resolve theirs; the event is inserted where the item is new."""
    resolving: list[tuple[Posting, datetime]] = field(default_factory=list)
    """Postings applied for the first time: their open items are resolved."""
    items_after: list[tuple[ReconciliationItem, Event | None]] = field(default_factory=list)
    """Items of postings that contradict a credit of this very batch."""


Posted = PostingRecords | Exception
"""The records of a request; an exception is what its `records_of` raised, and the posting writes nothing then."""


def lock_set(postings: Iterable[Posting]) -> LockSet:
    """What must be locked and read to post them."""
    references: set[Reference] = set()
    accounts: set[Account] = set()
    for posting in postings:
        references.add((posting.provider, posting.reference))
        if posting.promo_amount is not None:
            references.add((posting.provider, posting.promo_reference))
        accounts.add((posting.user_id, posting.currency))
    return LockSet(tuple(sorted(references)), tuple(sorted(accounts)))


def windows_of(requests: Iterable[PostingRequest[Any]]) -> tuple[Window, ...]:
    """The windows that must be locked and read to post them, sorted: none where no ceiling by hour is configured."""
    limited = (request for request in requests if request.ceiling is not None and request.ceiling.counts)
    return tuple(sorted({ceilings.window_of(request.posting) for request in limited}))


def post(requests: Sequence[PostingRequest[Any]], snapshot: LedgerSnapshot) -> tuple[list[Posted], Entries]:
    """Post the requests one after the other: the records of each, and the entries to write for all."""
    batch = _Batch(snapshot)
    return [batch.post(request) for request in requests], batch.entries


def first_difference(known: Posting, posting: Posting) -> str:
    """The first field of the content that differs, '' where none does; amounts by value."""
    return next((name for name in _COMPARED if getattr(known, name) != getattr(posting, name)), "")


def resolve_repeated_credit(known: Credit, posting: Posting, applied: Applied) -> Applied | PostingRefused:
    """The outcome where an operator's wallet reports another credit for a reference: the first one holds.

    A wallet may have lost its data, or may not compare contents; the provider still gets the first transaction.
    """
    if name := first_difference(known.content, posting):
        return PostingRefused(PostingFault.REFERENCE_REUSED, name)
    if applied.transaction_id == known.transaction_id:
        return applied
    return structs.replace(
        applied, transaction_id=known.transaction_id, replayed=True, contradicting=applied.transaction_id
    )


class _Change(msgspec.Struct, frozen=True):
    """What a posting that passes does."""

    outcome: Applied
    credits: tuple[Credit, ...]
    amount: Decimal
    """Of all its credits."""


class _Batch:
    """The ledger while a batch is posted."""

    def __init__(self, snapshot: LedgerSnapshot) -> None:
        self._credits = dict(snapshot.credits)
        self._cash = dict(snapshot.cash)
        self._users = snapshot.users
        self._windows = dict(snapshot.windows)
        self._credited: set[Reference] = set()
        self.entries = Entries()

    def post(self, request: PostingRequest[Any]) -> Posted:
        decided = self._decide(request.posting, request.now, request.ceiling)
        outcome = decided.outcome if isinstance(decided, _Change) else decided
        try:
            records: PostingRecords = request.records_of(outcome)
        except Exception as error:  # noqa: BLE001 - raised at the caller; the other postings are not affected
            return error
        if isinstance(decided, _Change):
            self._enter(decided, request)
        self._add_records(records, request.posting, first=isinstance(decided, _Change))
        return records

    def _decide(self, posting: Posting, now: datetime, ceiling: Ceiling | None) -> _Change | Applied | PostingRefused:
        known = self._credits.get((posting.provider, posting.reference))
        if known is not None:
            return self._repeated(known, posting)
        prize = _prize(posting)
        known_prize = self._credits.get((prize.provider, prize.reference)) if prize is not None else None
        if prize is not None and not _fits(prize, posting, known_prize):
            return PostingRefused(PostingFault.REFERENCE_REUSED, "promo_reference")
        cash = self._cash.get((posting.user_id, posting.currency))
        if cash is None:
            return self._without_account(posting)
        result = Credit(CreditKind.RESULT, new_id(), posting, now)
        entered = [result]
        if prize is not None and known_prize is None:
            entered.append(Credit(CreditKind.PROMO, new_id(), prize, now))
        amount = reduce(EXACT.add, (credit.content.amount for credit in entered))
        if ceiling is not None:
            minutes = self._windows.get(ceilings.window_of(posting), {})
            if refused := ceilings.refusal(ceiling, amount, minutes, now):
                return refused
        cash = normalize(EXACT.add(cash, amount))
        applied = Applied(result.transaction_id, posting.currency, cash, replayed=False)
        return _Change(applied, tuple(entered), amount)

    def _repeated(self, known: Credit, posting: Posting) -> Applied | PostingRefused:
        if known.kind is not CreditKind.RESULT:
            return PostingRefused(PostingFault.REFERENCE_REUSED, "reference")
        if name := first_difference(known.content, posting):
            return PostingRefused(PostingFault.REFERENCE_REUSED, name)
        cash = self._cash[posting.user_id, posting.currency]
        return Applied(known.transaction_id, posting.currency, cash, replayed=True)

    def _without_account(self, posting: Posting) -> PostingRefused:
        if posting.user_id in self._users:
            return PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")
        return PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")

    def _enter(self, change: _Change, request: PostingRequest[Any]) -> None:
        account = (request.posting.user_id, request.posting.currency)
        self._cash[account] = self.entries.cash[account] = change.outcome.cash
        for credit in change.credits:
            self._credits[credit.content.provider, credit.content.reference] = credit
        if request.ceiling is not None and request.ceiling.counts:
            window = ceilings.window_of(request.posting)
            minutes = ceilings.added(self._windows.get(window, {}), change.amount, request.now)
            self._windows[window] = self.entries.windows[window] = minutes
        self.entries.credits.extend(change.credits)
        self._credited.add((request.posting.provider, request.posting.reference))
        self.entries.resolving.append((request.posting, request.now))

    def _add_records(self, records: PostingRecords, posting: Posting, *, first: bool) -> None:
        if records.exchange is not None:
            self.entries.exchanges.append(records.exchange)
        if records.item is not None:
            credited_here = (posting.provider, posting.reference) in self._credited
            items = self.entries.items_after if credited_here else self.entries.items_before
            items.append((records.item, records.event))
        elif records.event is not None and first:
            self.entries.events.append(records.event)


def _prize(posting: Posting) -> Posting | None:
    """The promotional prize as the credit that it is, under its own reference."""
    if posting.promo_amount is None:
        return None
    return structs.replace(
        posting,
        reference=posting.promo_reference,
        amount=posting.promo_amount,
        promo_amount=None,
        promo_reference="",
    )


def _fits(prize: Posting, posting: Posting, known: Credit | None) -> bool:
    """Whether a prize's reference is free, or is that of this very prize."""
    if prize.reference == posting.reference:
        return False
    return known is None or (known.kind is CreditKind.PROMO and not first_difference(known.content, prize))
