"""How PostgreSQL's columns hold typed values: sets of rows as arrays, and text without what it cannot hold."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.store.exact import normalize
from gateway.store.rows import RowCodec, Values


def arrays(rows: Sequence[Values]) -> list[tuple[Any, ...]]:
    """The columns of a set of rows, one array each, as `unnest` takes them. There is at least one row."""
    return list(zip(*rows, strict=True))


def require_aware(time: datetime) -> datetime:
    """The time. Raises ValueError for a naive one."""
    if time.tzinfo is None:
        raise ValueError(f"{time.isoformat()} has no time zone: the store keeps aware times only")
    return time


def journal_text(text: str) -> str:
    """Text as PostgreSQL can hold it: a line is stored, whatever a provider sent.

    NUL and lone surrogates, which it cannot hold, become the replacement character.
    """
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    without_nul = text.replace("\0", "\ufffd")
    return without_nul.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


CODEC = RowCodec(
    time=require_aware,
    time_of=lambda time: time,
    money=lambda amount: amount,
    money_of=normalize,  # PostgreSQL keeps the trailing zeros of what was written
    text=journal_text,
)
