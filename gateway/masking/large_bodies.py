"""Work on large bodies: on threads, so that the event loop serves other calls meanwhile.

Decoding and masking hold the interpreter lock, but release it every few milliseconds. Few threads compete for it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 64 * 1024
"""A larger body is large."""

_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="large body")


async def run_sized(size: int, work: Callable[[], T]) -> T:
    """The result of work on this many bytes: at once for few, on a thread for many. Raises what the work raises."""
    if size <= LARGE_BYTES:
        return work()

    def run() -> T:
        try:
            return work()
        except StopIteration as bug:  # a future cannot hold it, and would never be done
            raise RuntimeError("StopIteration") from bug

    return await asyncio.get_running_loop().run_in_executor(_THREADS, run)
