"""Event streams: stored events, then new ones, until the subscriber leaves or the gateway stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

from gateway.rpc.recent_events import RecentEvents
from gateway.rpc.status import ApiReason
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.base import Events, EventUnknown, StoreUnavailable
from gateway.store.models import Event, EventFilter
from gateway.telemetry.metrics import Metrics

BATCH = 200
"""Events per read for one stream, which keeps them until its subscriber has taken them."""

POLL_INTERVAL_S = 0.02
"""Minimum seconds between two reads of one stream, so that under load it reads the events of many commits at once."""


class _Position:
    """Where one stream is: the time of the event that its subscriber takes, None where it has the newest."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: datetime | None = None


class EventStreams:
    """All event streams. `stop` ends each with an error that says where to resume."""

    def __init__(self, store: Events, metrics: Metrics) -> None:
        self._store = store
        self._recent = RecentEvents(store)
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._positions: set[_Position] = set()

    def lag_s(self, now: datetime) -> float:
        """The age in seconds of the event that the slowest subscriber takes; 0 where all have the newest."""
        behind = [position.at for position in self._positions if position.at is not None]
        return max(0.0, (now - min(behind)).total_seconds()) if behind else 0.0

    def stop(self) -> None:
        """End every stream."""
        self._stopping.set()

    async def events(
        self, after: str, wanted: EventFilter, subscribed: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[Event]:
        """Events in order, without end. `subscribed` is awaited once the start position is valid.

        Raises GatewayError EVENT_UNKNOWN, STORE_UNAVAILABLE, and GATEWAY_STOPPING when the gateway stops.
        """
        started = False
        position = _Position()
        self._positions.add(position)
        try:
            with self._metrics.event_stream():
                async for batch in self._batches(after, wanted, position):
                    if not started:
                        started = True
                        await subscribed()
                    for event in batch:
                        if self._stopping.is_set():
                            raise _stopping()
                        position.at = event.time
                        yield event
        except EventUnknown:
            raise GatewayError(
                ApiReason.EVENT_UNKNOWN,
                f"event {after} is not stored: leave after_event_id empty to start from the oldest",
                certainty=None,
            ) from None
        except StoreUnavailable as error:
            raise GatewayError(
                Reason.STORE_UNAVAILABLE,
                "events cannot be read: watch again, after the last event that arrived",
                certainty=None,
            ) from error
        finally:
            self._positions.discard(position)

    async def _batches(self, cursor: str, wanted: EventFilter, position: _Position) -> AsyncIterator[Sequence[Event]]:
        """Wanted events in order, from the recent events, or from the store where the cursor is older than those.

        The first batch, which may be empty, shows that the start position is valid.
        """
        commits = -1
        while True:
            commits = await self._next_commit(commits)
            recent = await self._recent.after(cursor, commits)
            if recent is not None:
                cursor = recent[-1].id if recent else cursor
                yield [event for event in recent if wanted.wants(event)]
            while recent is None:
                batch = await self._store.next_events(cursor, wanted, BATCH)
                cursor = batch.last_id
                yield batch.events
                if not batch.more:
                    break
            position.at = None
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _next_commit(self, seen: int) -> int:
        """Wait for a commit after the first `seen` ones. Raises GatewayError when the gateway stops."""
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


def _stopping() -> GatewayError:
    return GatewayError(
        ApiReason.GATEWAY_STOPPING,
        "the gateway is stopping: watch again, after the last event that arrived",
        certainty=None,
    )
