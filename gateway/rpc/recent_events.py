"""The newest events, read once for all streams that have caught up with them."""

import asyncio
from collections.abc import Sequence

from gateway.store.base import Events, EventUnknown
from gateway.store.models import Event, EventFilter

MOST = 1000
"""Events that are surely held, and that are read at once. Up to twice as many are."""

_ALL = EventFilter()


class RecentEvents:
    """What happened lately, as the store has it. Whoever needs what is newer reads it for all others.

    A stream that is further behind reads from the store by itself.
    """

    def __init__(self, store: Events) -> None:
        self._store = store
        self._reading = asyncio.Lock()
        self._commits = -1
        """What they cover: the events of this many commits."""
        self._newest: str | None = None
        self._events: list[Event] = []
        self._passed = 0
        """Events that were held, and are not any more."""
        self._numbers: dict[str, int] = {}
        """By an event's id, how many there were up to it; also of the one before the first that is held."""

    async def after(self, event_id: str, commits: int) -> Sequence[Event] | None:
        """All events behind this one that the first `commits` commits added, and maybe more; '' is before the first.

        None where they are not all held. Raises StoreUnavailable.
        """
        async with self._reading:
            if self._commits < commits:
                await self._read()
                self._commits = commits
        number = self._numbers.get(event_id)
        return None if number is None else self._events[number - self._passed :]

    async def _read(self) -> None:
        if self._newest is None or not await self._go_on(self._newest):
            # Nobody has read for long: what lies between is for those who are behind.
            newest = await self._store.newest_event_id()
            self._events, self._passed, self._numbers = [], 0, {newest: 0}
            self._newest = newest

    async def _go_on(self, newest: str) -> bool:
        """Read what is newer, and answer whether that was all of it."""
        try:
            newer = await self._store.events_after(newest, _ALL, MOST)
        except EventUnknown:  # another database stands in the place of the one before
            return False
        if len(newer) == MOST:
            return False
        for event in newer:
            self._events.append(event)
            self._numbers[event.id] = self._passed + len(self._events)
            self._newest = event.id
        if len(self._events) > 2 * MOST:
            self._forget(len(self._events) - MOST)
        return True

    def _forget(self, count: int) -> None:
        """Let go of the oldest, but for the last one's number: who stands behind it misses nothing."""
        self._passed += count
        self._events = self._events[count:]
        self._numbers = {key: number for key, number in self._numbers.items() if number >= self._passed}
