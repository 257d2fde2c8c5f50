"""Byte ranges to replace. They come in any order and may overlap."""

from collections.abc import Iterable

MASK = b"***"

Range = tuple[int, int, bytes]
"""Start, end and replacement."""


def replace_ranges(data: bytes, ranges: Iterable[Range]) -> bytes:
    """The data with every range replaced. Overlapping ranges become one."""
    out: list[bytes] = []
    at = 0
    for start, end, replacement in _merged(ranges):
        out += (data[at:start], replacement)
        at = end
    out.append(data[at:])
    return b"".join(out)


def _merged(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, end, replacement in sorted(ranges, key=lambda found: (found[0], -found[1])):
        if not merged or start >= merged[-1][1]:
            merged.append((start, end, replacement))
        elif end > merged[-1][1]:
            merged[-1] = (merged[-1][0], end, MASK)
    return merged
