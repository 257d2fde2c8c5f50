"""Pieces of a text to be replaced, found in any order and possibly overlapping."""

from collections.abc import Iterable

MASK = b"***"

Range = tuple[int, int, bytes]
"""Start, end, and what stands there instead."""


def replace_ranges(data: bytes, spans: Iterable[Range]) -> bytes:
    """The data with every span replaced. Overlapping spans are replaced as one, in the form of one that covers it."""
    out: list[bytes] = []
    at = 0
    for start, end, instead in _joined(spans):
        out += (data[at:start], instead)
        at = end
    out.append(data[at:])
    return b"".join(out)


def _joined(spans: Iterable[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end, instead in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not joined or start >= joined[-1][1]:
            joined.append((start, end, instead))
        elif end > joined[-1][1]:
            joined[-1] = (joined[-1][0], end, MASK)
    return joined
