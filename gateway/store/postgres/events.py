"""Events for subscribers, in one order.

An event is inserted without a position, in the transaction that it is about; the sequencer gives it one once it is
committed. Only events with a position are read.
"""

from collections.abc import Sequence

from gateway.store.base import EventUnknown
from gateway.store.models import Event, EventBatch, EventFilter
from gateway.store.paging import MAX_POSITION
from gateway.store.postgres.codecs import CODEC, arrays
from gateway.store.postgres.connection import Connection
from gateway.store.rows import EVENT_COLUMNS

MAX_SCANNED = 20_000
"""Maximum number of events that one read scans: a filter that matches few does not make it long."""

_INSERT = f"""
INSERT INTO events ({EVENT_COLUMNS})
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]
)
"""  # noqa: S608 - fixed fragments only

_NEWEST = "SELECT id, position FROM events WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1"
"""Without the condition, those that have no position yet would come first."""


async def insert(db: Connection, events: Sequence[Event]) -> None:
    """Append events, in their order. The caller makes sure that each happened only once."""
    if events:
        await db.execute(_INSERT, *arrays([CODEC.event_values(event) for event in events]))


async def events_after(db: Connection, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
    """The next events that the filter wants. Raises EventUnknown."""
    return await _between(db, await _position(db, after_event_id), MAX_POSITION, wanted, limit)


async def next_events(db: Connection, after_event_id: str, wanted: EventFilter, limit: int) -> EventBatch:
    """The next events that the filter wants, among the next MAX_SCANNED. Raises EventUnknown."""
    position = await _position(db, after_event_id)
    # A user's events have an index, and without a filter the limit is the bound.
    end = None
    if (wanted.provider or wanted.types) and not wanted.user_id:
        end = await db.fetchrow(
            "SELECT id, position FROM events WHERE position > $1 ORDER BY position LIMIT 1 OFFSET $2",
            position,
            MAX_SCANNED - 1,
        )
    more = end is not None
    end = end or await db.fetchrow(_NEWEST)
    if end is None:
        return EventBatch((), after_event_id, more=False)
    events = await _between(db, position, end["position"], wanted, limit)
    if len(events) == limit:
        return EventBatch(events, events[-1].id, more=True)
    return EventBatch(events, end["id"], more)


async def newest_event_id(db: Connection) -> str:
    """The id of the newest event, '' where there is none."""
    newest = await db.fetchrow(_NEWEST)
    return str(newest["id"]) if newest is not None else ""


async def _position(db: Connection, event_id: str) -> int:
    if not event_id:
        return 0
    position = await db.fetchval("SELECT position FROM events WHERE id = $1", event_id)
    if position is None:  # an event without a position was never returned
        raise EventUnknown(event_id)
    return int(position)


async def _between(db: Connection, position: int, end: int, wanted: EventFilter, limit: int) -> Sequence[Event]:
    values: list[object] = [position, end, limit]
    conditions = ["position > $1", "position <= $2"]
    if wanted.user_id:
        values.append(wanted.user_id)
        conditions.append(f"user_id = ${len(values)}")
    if wanted.provider:
        values.append(wanted.provider)
        conditions.append(f"provider = ${len(values)}")
    if wanted.types:
        values.append(sorted(each.value for each in wanted.types))
        conditions.append(f"type = ANY(${len(values)}::text[])")
    rows = await db.fetch(
        f"SELECT {EVENT_COLUMNS} FROM events WHERE {' AND '.join(conditions)} ORDER BY position LIMIT $3",  # noqa: S608 - fixed fragments only
        *values,
    )
    return tuple(CODEC.event(row) for row in rows)
