"""Ids that sort by the time at which they were made, so that an index of them grows at its end.

Random ids would each change another page of the index. On a large store a commit would write mostly such pages, and
few rows.
"""

import os
import time

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = ((1 << 76) - 1) & ~(0b11 << 62)
"""Where a UUID of version 7 has random bits: the rest is the time in milliseconds, the version and the variant."""


def new_id() -> str:
    """A unique id: a UUID of version 7, as 32 hexadecimal digits."""
    drawn = int.from_bytes(os.urandom(10), "big") & _RANDOM
    return f"{time.time_ns() // 1_000_000 << 80 | _VERSION_7 | _VARIANT | drawn:032x}"
