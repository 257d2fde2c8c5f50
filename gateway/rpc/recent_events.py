"""A cache of the newest events, read once for all streams that have caught up."""

import asyncio
from collections.abc import Sequence

from gateway.store.base import Events, EventUnknown
from gateway.store.models import Event, EventFilter

CACHE_SIZE = 1000
"""Events that are kept at least, and the limit of one read. At most twice this number is kept."""

_ALL = EventFilter()


class RecentEvents:
    """The newest events of the store. A stream that needs newer ones reads them for all streams.

    A stream that is further behind reads from the store itself.
    """

    def __init__(self, store: Events) -> None:
        self._store = store
        self._reading = asyncio.Lock()
        self._commits = -1
        """The number of commits whose events were read."""
        self._newest: str | None = None
        self._events: list[Event] = []
        self._removed = 0
        """The number of events that were removed."""
        self._positions: dict[str, int] = {}
        """The position of each event by its id, and of the last removed one."""

    async def after(self, event_id: str, commits: int) -> Sequence[Event] | None:
        """All events after this one of the first `commits` commits, and possibly newer ones; '' is before the first.

        None where not all of them are cached. Raises StoreUnavailable.
        """
        async with self._reading:
            if self._commits < commits:
                await self._read()
                self._commits = commits
        position = self._positions.get(event_id)
        return None if position is None else self._events[position - self._removed :]

    async def _read(self) -> None:
        if self._newest is None or not await self._read_newer(self._newest):
            # Too many are new: the streams that need those in between read them from the store.
            newest = await self._store.newest_event_id()
            self._events, self._removed, self._positions = [], 0, {newest: 0}
            self._newest = newest

    async def _read_newer(self, newest: str) -> bool:
        """Read newer events. Returns whether those were all."""
        try:
            newer = await self._store.events_after(newest, _ALL, CACHE_SIZE)
        except EventUnknown:  # the database was replaced
            return False
        if len(newer) == CACHE_SIZE:
            return False
        for event in newer:
            self._events.append(event)
            self._positions[event.id] = self._removed + len(self._events)
            self._newest = event.id
        if len(self._events) > 2 * CACHE_SIZE:
            self._remove_oldest(len(self._events) - CACHE_SIZE)
        return True

    def _remove_oldest(self, count: int) -> None:
        """Remove the oldest; the position of the last one is kept, for streams that resume after it."""
        self._removed += count
        self._events = self._events[count:]
        self._positions = {key: position for key, position in self._positions.items() if position >= self._removed}
