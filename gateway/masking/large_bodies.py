"""Work on large bodies: on threads, so that the event loop serves other calls meanwhile.

Decoding and masking hold the interpreter lock. They release it every few milliseconds, but take their part of the
processor. So few run at once, and one of each provider: no provider waits behind another's queue.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 2
"""Large bodies of one kind that are worked on at the same time."""


class LargeBodies:
    """Runs work on bodies of one kind: of small ones at once, of large ones on a thread.

    A body of more than `small_bytes` is large. Another kind has its own threads, so that neither waits for the other.
    """

    def __init__(self, small_bytes: int) -> None:
        self._small_bytes = small_bytes
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="large body")
        self._of_provider: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(1))
        """By name. Names come from the configuration."""

    async def run(self, provider: str, size: int, work: Callable[[], T]) -> T:
        """The result of work on a body of this many bytes. Raises what the work raises.

        If it is cancelled, work that has begun goes on, and keeps its place until it ends.
        """
        if size <= self._small_bytes:
            return work()
        own = self._of_provider[provider]
        await own.acquire()
        queued = self._threads.submit(partial(_run, work))
        running = asyncio.wrap_future(queued)
        running.add_done_callback(lambda _: own.release())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            queued.cancel()  # no effect once it has begun
            raise


def _run(work: Callable[[], T]) -> T:
    try:
        return work()
    except StopIteration as bug:  # a future cannot hold it, and would never be done
        raise RuntimeError("StopIteration") from bug
