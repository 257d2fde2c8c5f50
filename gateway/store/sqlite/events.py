"""Events for subscribers, in one order: the one thread that writes gives the positions, in the order of the commits."""

import sqlite3
from collections.abc import Iterable, Sequence

from gateway.store.base import EventUnknown
from gateway.store.models import Event, EventBatch, EventFilter
from gateway.store.paging import MAX_POSITION
from gateway.store.rows import EVENT_COLUMNS
from gateway.store.sqlite.codecs import CODEC

MAX_SCANNED = 20_000
"""Maximum number of events that one read scans: a filter that matches few does not make it long."""

_INSERT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - fixed names

_NEWEST = "SELECT id, position FROM events ORDER BY position DESC LIMIT 1"


def insert(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Append events, in their order. The caller makes sure that each happened only once."""
    db.executemany(_INSERT, map(CODEC.event_values, events))


def events_after(db: sqlite3.Connection, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
    """The next events that the filter wants. Raises EventUnknown."""
    return _between(db, _position(db, after_event_id), MAX_POSITION, wanted, limit)


def next_events(db: sqlite3.Connection, after_event_id: str, wanted: EventFilter, limit: int) -> EventBatch:
    """The next events that the filter wants, among the next MAX_SCANNED. Raises EventUnknown."""
    position = _position(db, after_event_id)
    # A user's events have an index, and without a filter the limit is the bound.
    end = None
    if (wanted.provider or wanted.types) and not wanted.user_id:
        end = db.execute(
            "SELECT id, position FROM events WHERE position > ? ORDER BY position LIMIT 1 OFFSET ?",
            (position, MAX_SCANNED - 1),
        ).fetchone()
    more = end is not None
    end = end or db.execute(_NEWEST).fetchone()
    if end is None:
        return EventBatch((), after_event_id, more=False)
    events = _between(db, position, end["position"], wanted, limit)
    if len(events) == limit:
        return EventBatch(events, events[-1].id, more=True)
    return EventBatch(events, end["id"], more)


def newest_event_id(db: sqlite3.Connection) -> str:
    """The id of the newest event, '' where there is none."""
    row = db.execute(_NEWEST).fetchone()
    return row["id"] if row is not None else ""


def newest_position(db: sqlite3.Connection) -> int:
    """The position of the newest event, 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])


def _position(db: sqlite3.Connection, event_id: str) -> int:
    if not event_id:
        return 0
    row = db.execute("SELECT position FROM events WHERE id = ?", (event_id,)).fetchone()
    if row is None:
        raise EventUnknown(event_id)
    return int(row["position"])


def _between(db: sqlite3.Connection, position: int, end: int, wanted: EventFilter, limit: int) -> Sequence[Event]:
    conditions = ["position > :position", "position <= :end"]
    values: dict[str, str | int] = {"position": position, "end": end, "limit": limit}
    if wanted.user_id:
        conditions.append("user_id = :user_id")
        values["user_id"] = wanted.user_id
    if wanted.provider:
        conditions.append("provider = :provider")
        values["provider"] = wanted.provider
    if wanted.types:
        types = {f"type{number}": each.value for number, each in enumerate(sorted(wanted.types))}
        conditions.append(f"type IN ({', '.join(f':{name}' for name in types)})")
        values.update(types)
    rows = db.execute(
        f"SELECT * FROM events WHERE {' AND '.join(conditions)} ORDER BY position LIMIT :limit",  # noqa: S608 - fixed fragments only
        values,
    )
    return tuple(CODEC.event(row) for row in rows)
