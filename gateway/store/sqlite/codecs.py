"""How SQLite's columns hold typed values: money as exact plain text, times as sortable text in UTC."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from gateway.store.rows import RowCodec


def money_text(amount: Decimal) -> str:
    """The one text of an amount: plain notation, no exponent, no trailing zeros ('10.50' is '10.5', '0.00' is '0')."""
    if not amount:
        return "0"
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=1024)  # one request writes the same time in several rows, and formatting costs more than a look-up
def time_text(time: datetime) -> str:
    """A time in UTC, with microseconds. Raises ValueError for a naive time."""
    if time.tzinfo is None:
        raise ValueError(f"{time.isoformat()} has no time zone: the store keeps aware times only")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


CODEC = RowCodec(time=time_text, time_of=datetime.fromisoformat, money=money_text, money_of=Decimal, text=str)
