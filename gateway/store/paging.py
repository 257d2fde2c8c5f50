"""Page tokens: where a list goes on. Opaque text, the same on every engine; what a part means is its list's own."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from gateway.store.base import PageTokenUnknown

LONGEST_TOKEN = 4096
"""Characters. Longer than any that `encode` makes of keys that the contract allows."""

_LONGEST_POSITION = 18
"""Digits: whatever has no more is a number that every engine takes."""


def encode(*parts: str) -> str:
    """A token of a position: where its list goes on behind."""
    return urlsafe_b64encode(msgspec.msgpack.encode(parts)).rstrip(b"=").decode()


def decode(token: str, parts: int) -> tuple[str, ...]:
    """The position that `encode` was given. Raises PageTokenUnknown where the token is none of such a list."""
    position = _decoded(token) if len(token) <= LONGEST_TOKEN else ()
    if len(position) != parts or encode(*position) != token:
        raise PageTokenUnknown("this gateway did not give this page token; ask for the first page again")
    return position


def position_of(token: str, first: int) -> int:
    """The number that a list in order of positions goes on from, `first` where there is no token.

    Raises PageTokenUnknown.
    """
    if not token:
        return first
    (position,) = decode(token, 1)
    if not (position.isascii() and position.isdigit() and len(position) <= _LONGEST_POSITION):
        raise PageTokenUnknown("this page token belongs to another list; ask for the first page again")
    return int(position)


def _decoded(token: str) -> tuple[str, ...]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        return msgspec.msgpack.decode(urlsafe_b64decode(padded), type=tuple[str, ...])
    except (ValueError, msgspec.DecodeError):
        return ()
