"""Streams of events: what is kept, then what happens, until the subscriber leaves or the gateway stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.rpc.status import ApiReason
from gateway.sessions.failure import Failure, Reason
from gateway.store.interface import Events, EventUnknown, StoreUnavailable
from gateway.store.records import Event, EventFilter
from gateway.telemetry.metrics import Metrics

BATCH = 200
"""Events read at once: what a slow subscriber holds in memory at the most."""


class Watching:
    """All streams of events. `stop` ends them, each with a Failure that says where to go on."""

    def __init__(self, store: Events, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every stream."""
        self._stopping.set()

    async def events(
        self, after: str, wanted: EventFilter, subscribed: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[Event]:
        """Events in order, without end; `subscribed` is awaited once the start is known to be good.

        Raises Failure EVENT_UNKNOWN, STORE_UNAVAILABLE, and GATEWAY_STOPPING when the gateway stops.
        """
        try:
            with self._metrics.event_stream():
                async for event in self._events(after, wanted, subscribed):
                    yield event
        except EventUnknown:
            raise Failure(
                ApiReason.EVENT_UNKNOWN,
                f"no event {after} is kept: leave after_event_id empty to start from the oldest",
                certainty=None,
            ) from None
        except StoreUnavailable as error:
            raise Failure(
                Reason.STORE_UNAVAILABLE,
                "events cannot be read: watch again from behind the last event that arrived",
                certainty=None,
            ) from error

    async def _events(
        self, cursor: str, wanted: EventFilter, subscribed: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[Event]:
        commits = -1
        started = False
        while True:
            commits = await self._committed(commits)
            newest = await self._store.newest_event_id()
            quiet = True
            while batch := await self._store.events_after(cursor, wanted, BATCH):
                if not started:
                    started = True
                    await subscribed()
                quiet = False
                for event in batch:
                    yield event
                    cursor = event.id
                if self._stopping.is_set():
                    raise _stopping()
            if not started:
                started = True
                await subscribed()
            if quiet:
                cursor = newest  # nothing up to there was wanted: do not read it again

    async def _committed(self, seen: int) -> int:
        """Wait for more events to be committed than seen. Raises Failure when the gateway stops."""
        commit = asyncio.ensure_future(self._store.events_committed(seen))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({commit, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                raise _stopping()
            return commit.result()
        finally:
            commit.cancel()
            stop.cancel()


def _stopping() -> Failure:
    return Failure(
        ApiReason.GATEWAY_STOPPING,
        "the gateway is stopping: watch again, from behind the last event that arrived",
        certainty=None,
    )
