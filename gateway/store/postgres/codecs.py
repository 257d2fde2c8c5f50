"""How typed values stand in columns: sets of rows as arrays, money in plain form, text that PostgreSQL can hold."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from gateway.store.posting import normalize

Row = tuple[Any, ...]
"""Values in the order of an INSERT's columns."""


def arrays(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The columns of a set of rows, one array each, as `unnest` takes them. There is at least one row."""
    return list(zip(*rows, strict=True))


def money(amount: Decimal) -> Decimal:
    """An amount as it is answered: PostgreSQL keeps the zeros that it was written with."""
    return normalize(amount)


def require_aware(time: datetime) -> datetime:
    """A moment as it is kept. Raises ValueError for a naive time, which names no moment."""
    if time.tzinfo is None:
        raise ValueError(f"{time.isoformat()} has no time zone: the store keeps aware times only")
    return time


def journal_text(text: str) -> str:
    """Text of a line as PostgreSQL can hold it: a line is kept, whatever a provider sent.

    NUL and halves of characters have no place in its texts, and become the mark of what cannot be shown.
    """
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    shown = text.replace("\0", "\ufffd")
    return shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
