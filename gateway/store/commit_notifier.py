"""Wakes the tasks that wait for events."""

import asyncio

from gateway.store.base import StoreUnavailable


class CommitNotifier:
    """Counts the commits that added events, and wakes the tasks that wait for one. Belongs to the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()

    def add(self) -> None:
        """One more commit added events."""
        self._count += 1
        self._wake()

    def close(self) -> None:
        """No more events come: the tasks that wait get StoreUnavailable."""
        self._closed = True
        self._wake()

    async def wait_past(self, seen: int) -> int:
        """Wait until the count is more than `seen`, and return it."""
        while self._count <= seen:
            if self._closed:
                raise StoreUnavailable("the store is closed: no more events come")
            await self._changed.wait()
        return self._count

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
