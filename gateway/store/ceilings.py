"""Ceilings: what a provider's callbacks may credit in one currency, by Result and by hour. No SQL, no clock.

The amounts of an hour are kept by minute, one window for each provider and currency. A window has the running minute
and the 60 before it, so that no 60 minutes exceed the ceiling.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import reduce

import msgspec

from gateway.store.exact import EXACT
from gateway.store.models import AboveCeiling, Posting, PostingFault, PostingRefused

WINDOW_MINUTES = 60
"""The minutes before the running one that count."""

Window = tuple[str, str]
"""(provider, currency)."""

Minutes = Mapping[int, Decimal]
"""What was credited in each minute, which is counted from 1970."""


class Ceiling(msgspec.Struct, frozen=True):
    """The limits of one provider in one currency. None is no limit."""

    max_amount: Decimal | None = None
    """Of one Result, with its promotional prize."""
    max_amount_per_h: Decimal | None = None
    confirmed: bool = False
    """An operator confirmed the Result: it is counted, and it is not limited."""

    @property
    def counts(self) -> bool:
        """Whether the amounts of an hour are counted."""
        return self.max_amount_per_h is not None


class Admission(msgspec.Struct, frozen=True):
    """A Result that the operator's wallet was asked to credit, whose outcome is not stored yet."""

    currency: str
    amount: Decimal
    minute: int
    """The minute in which the amount was counted."""


def window_of(posting: Posting) -> Window:
    """The window in which a posting is counted."""
    return (posting.provider, posting.currency)


def amount_of(posting: Posting) -> Decimal:
    """What a posting credits, with its promotional prize."""
    return EXACT.add(posting.amount, posting.promo_amount or Decimal(0))


def minute_of(now: datetime) -> int:
    """The minute of a time, counted from 1970. Raises ValueError for a naive time."""
    if now.tzinfo is None:
        raise ValueError(f"{now.isoformat()} has no time zone: the store keeps aware times only")
    return int(now.timestamp()) // 60


def refusal(ceiling: Ceiling, amount: Decimal, minutes: Minutes, now: datetime) -> PostingRefused | None:
    """The refusal of an amount above the ceiling. What credits nothing is below every ceiling."""
    if ceiling.confirmed or not amount:
        return None
    if ceiling.max_amount is not None and amount > ceiling.max_amount:
        return _refused(AboveCeiling("max_amount", ceiling.max_amount, amount))
    if ceiling.max_amount_per_h is None:
        return None
    credited = reduce(EXACT.add, _current(minutes, now).values(), Decimal(0))
    if EXACT.add(credited, amount) > ceiling.max_amount_per_h:
        return _refused(AboveCeiling("max_amount_per_h", ceiling.max_amount_per_h, amount, credited))
    return None


def _refused(above: AboveCeiling) -> PostingRefused:
    return PostingRefused(PostingFault.AMOUNT_ABOVE_LIMIT, "amount", above)


def _current(minutes: Minutes, now: datetime) -> dict[int, Decimal]:
    """The minutes that count. One that is ahead counts too: the clocks of two gateways may differ."""
    oldest = minute_of(now) - WINDOW_MINUTES
    return {minute: amount for minute, amount in minutes.items() if minute >= oldest}


def added(minutes: Minutes, amount: Decimal, now: datetime) -> Minutes:
    """The window with one more amount, without the minutes that no longer count."""
    current, minute = _current(minutes, now), minute_of(now)
    return {**current, minute: EXACT.add(current.get(minute, Decimal(0)), amount)}


def removed(minutes: Minutes, admission: Admission) -> Minutes:
    """The window without an amount that was counted and not credited."""
    if admission.minute not in minutes:
        return minutes
    return {**minutes, admission.minute: EXACT.subtract(minutes[admission.minute], admission.amount)}


def settled(minutes: Minutes, posting: Posting, admission: Admission | None, now: datetime, *, new: bool) -> Minutes:
    """The window once the operator's wallet answered. `new` says whether the posting is credited for the first time.

    The amount was counted with its admission. Two deliveries of one Result have one admission, which the first answer
    takes: a second answer that credits is counted here.
    """
    if new and admission is None:
        return added(minutes, amount_of(posting), now)
    if admission is not None and not new:
        return removed(minutes, admission)
    return minutes


def admitted(
    posting: Posting, ceiling: Ceiling, asked: Admission | None, minutes: Minutes, now: datetime
) -> Admission | PostingRefused | None:
    """The admission to store before the wallet is asked, or the refusal; None where there is nothing to store.

    What was asked before, with the same amount, is counted already: its outcome is unknown.
    """
    amount = amount_of(posting)
    counted = asked is not None and (asked.currency, asked.amount) == (posting.currency, amount)
    if counted:
        ceiling = msgspec.structs.replace(ceiling, max_amount_per_h=None)
    if refused := refusal(ceiling, amount, minutes, now):
        return refused
    return Admission(posting.currency, amount, minute_of(now)) if ceiling.counts else None


def encode(minutes: Minutes) -> str:
    """A window as both engines store it."""
    return json.dumps({str(minute): format(amount, "f") for minute, amount in sorted(minutes.items())})


def decode(text: str) -> Minutes:
    """A stored window."""
    return {int(minute): Decimal(amount) for minute, amount in json.loads(text).items()}
