"""Work on large bodies: on threads, so that the event loop serves the other callbacks meanwhile.

Decoding and masking are Python code. It gives the interpreter lock away every few milliseconds, but it takes its part
of the processor: so few run at once, and one of each provider, so that no provider has to wait behind another's queue.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 8 * 1024
"""A larger body is large. Decoding that much of the costliest kind takes some milliseconds."""

_AT_ONCE = 2
"""Large bodies that are worked on at the same time."""


class LargeBodies:
    """Runs work on bodies: of small ones at once, of large ones on a thread."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_AT_ONCE)
        self._of_provider: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(1))
        """By name. Names come from the configuration."""

    async def run(self, provider: str, size: int, work: Callable[[], T]) -> T:
        """The result of work on a body of this many bytes. Raises what the work raises.

        If it is cancelled, work that has begun goes on, and keeps its place until it ends.
        """
        if size <= LARGE_BYTES:
            return work()
        own = self._of_provider[provider]
        await own.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            own.release()
            raise
        running = asyncio.ensure_future(asyncio.to_thread(work))

        def ended(_: object) -> None:
            self._all.release()
            own.release()

        running.add_done_callback(ended)
        return await asyncio.shield(running)
