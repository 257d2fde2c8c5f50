"""How typed values stand in columns: money as exact plain text, times as sortable text in UTC."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache


def money_text(amount: Decimal) -> str:
    """The one text of an amount: plain notation, no exponent, no trailing zeros ('10.50' is '10.5', '0.00' is '0')."""
    if not amount:
        return "0"
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=1024)  # a request's moments stand in several rows, and to write one takes longer than to find it
def time_text(moment: datetime) -> str:
    """A moment in UTC, with microseconds. Raises ValueError for a naive time, which names no moment."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: the store keeps aware times only")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def time_of(text: str) -> datetime:
    """The moment that `time_text` wrote."""
    return datetime.fromisoformat(text)
