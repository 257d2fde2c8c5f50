"""Reconciliation items: what an operator must look at."""

from datetime import datetime
from enum import StrEnum, unique

import msgspec

from gateway.store.models import Actor


@unique
class ReconciliationKind(StrEnum):
    """What an operator must look at. Names as in the proto's ItemKind, without its prefix."""

    RESULT_REFUSED = "RESULT_REFUSED"
    """A Result that was refused."""
    RESULT_UNKNOWN = "RESULT_UNKNOWN"
    """A Result that the operator's wallet may or may not have credited."""
    RESULT_CONTRADICTED = "RESULT_CONTRADICTED"
    """A Result for which the operator's wallet returned two transactions."""
    CLOSE_UNKNOWN = "CLOSE_UNKNOWN"
    """A close that the provider may or may not have executed."""


class Resolution(msgspec.Struct, frozen=True):
    """How an item was resolved."""

    at: datetime
    actor: Actor
    reason: str


class ReconciliationItem(msgspec.Struct, frozen=True):
    """Something that an operator must look at. One item per (provider, reference, user_id, fault, field)."""

    id: str
    provider: str
    reference: str
    """The Result's; for CLOSE_UNKNOWN the closure's request_id."""
    fault: str
    field: str
    detail: str
    user_id: str
    created_at: datetime
    exchange_id: str
    """The journal's line of the callback, or of the answer to the close; '' where there is none."""
    kind: ReconciliationKind = ReconciliationKind.RESULT_REFUSED
    resolution: Resolution | None = None


class OpenItemCount(msgspec.Struct, frozen=True):
    """How many items of a provider and kind are open, and when the oldest of them was made."""

    provider: str
    kind: str
    count: int
    oldest_at: datetime


class ItemFilter(msgspec.Struct, frozen=True):
    """Which items are wanted; an empty part wants all."""

    provider: str = ""
    user_id: str = ""
    resolved: bool = False
    """Those that are resolved, instead of those that are open."""
