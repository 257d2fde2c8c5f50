"""The lag of this process's event loop: a call that it delayed says nothing of the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

_EVERY_S = 0.005
HELD_UP_S = 0.02
"""The lag from which a measurement of 50 ms is wrong."""


class LagMonitor:
    """Sleeps on the running loop, and remembers when it last woke late."""

    def __init__(self) -> None:
        self._late_at = float("-inf")

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Measure until the block ends."""
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def was_late(self, since: float) -> bool:
        """Whether this process was late at any time since then (of `monotonic`)."""
        return self._late_at >= since

    async def _beat(self) -> None:
        while True:
            due = monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            if (now := monotonic()) - due > HELD_UP_S:
                self._late_at = now
