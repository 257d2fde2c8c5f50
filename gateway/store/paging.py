"""Pages and their tokens. A token is opaque text, the same on every engine; each list gives its parts a meaning."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from gateway.store.base import PageTokenUnknown
from gateway.store.models import Page
from gateway.store.rows import Row

RowT = TypeVar("RowT", bound=Row)
T = TypeVar("T")

MAX_TOKEN_LENGTH = 4096
"""Characters. Longer than any that `encode` makes of keys that the contract allows."""

MAX_POSITION = 2**63 - 1
"""Larger than any position that an engine gives: a list of the newest first starts here."""

_MAX_POSITION_DIGITS = 18
"""A number with no more digits fits into every engine's column."""


def page_of(
    rows: Sequence[RowT],
    limit: int,
    decode_row: Callable[[RowT], T],
    key: Callable[[RowT], tuple[str, ...]] = lambda row: (str(row["position"]),),
) -> Page[T]:
    """The page of rows that were read with `limit + 1`; `key` is the position after which the next page starts."""
    next_token = encode(*key(rows[limit - 1])) if len(rows) > limit else ""
    return Page(tuple(decode_row(row) for row in rows[:limit]), next_token)


def encode(*parts: str) -> str:
    """The token of a position, after which its list continues."""
    return urlsafe_b64encode(msgspec.msgpack.encode(parts)).rstrip(b"=").decode()


def decode(token: str, parts: int) -> tuple[str, ...]:
    """The position that `encode` was given. Raises PageTokenUnknown for a token of another list, or of none."""
    position = _decoded(token) if len(token) <= MAX_TOKEN_LENGTH else ()
    if len(position) != parts or encode(*position) != token:
        raise PageTokenUnknown("this gateway did not give this page token; ask for the first page again")
    return position


def position_of(token: str, first: int) -> int:
    """The position in a token of a list that is ordered by position, `first` where there is no token.

    Raises PageTokenUnknown.
    """
    if not token:
        return first
    (position,) = decode(token, 1)
    if not (position.isascii() and position.isdigit() and len(position) <= _MAX_POSITION_DIGITS):
        raise PageTokenUnknown("this page token belongs to another list; ask for the first page again")
    return int(position)


def _decoded(token: str) -> tuple[str, ...]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        return msgspec.msgpack.decode(urlsafe_b64decode(padded), type=tuple[str, ...])
    except (ValueError, msgspec.DecodeError):
        return ()
