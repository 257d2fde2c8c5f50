"""Rules of closures, the same on every engine: the combined certainty of attempts, and abandoned attempts."""

from datetime import datetime

from adapters.contract import Certainty
from gateway.store.ids import new_id
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind

_RANK = {Certainty.NOT_SENT: 0, Certainty.REFUSED: 1, Certainty.UNKNOWN: 2}


def combine_certainty(before: Certainty | None, last: Certainty) -> Certainty:
    """The certainty of all attempts, from that of those before and the last one's: once UNKNOWN it stays so."""
    return last if before is None else max(before, last, key=_RANK.__getitem__)


def never_begun(request_id: str) -> LookupError:
    """The error for a request that has no intent."""
    return LookupError(f"there is no closure {request_id!r}: begin_close comes first")


def abandoned(request_id: str, provider: str, user_id: str, now: datetime) -> ReconciliationItem:
    """The item of an attempt that began and was never concluded."""
    return ReconciliationItem(
        id=new_id(),
        provider=provider,
        reference=request_id,
        fault="CLOSE_UNKNOWN",
        field="",
        detail="a gateway ended before the provider answered: repeat the call with its request_id, or ask the provider",
        user_id=user_id,
        created_at=now,
        exchange_id="",
        kind=ReconciliationKind.CLOSE_UNKNOWN,
    )
