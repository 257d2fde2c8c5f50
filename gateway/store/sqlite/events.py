"""Events: what subscribers are told, in one order.

One writer gives the positions, so that their order is the order of the commits.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from gateway.store.base import EventUnknown
from gateway.store.models import Event, EventBatch, EventFilter, EventType
from gateway.store.sqlite.codecs import time_of, time_text

LOOKED_AT = 20_000
"""Events that one batch is looked for among: where few are wanted, no read takes long all the same."""

_LAST = 2**63 - 1
"""Behind every position."""

_KEEP = """
    INSERT INTO events (id, type, time, provider, user_id, session_id, request_id, reference)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def keep(db: sqlite3.Connection, event: Event) -> None:
    """Append an event. What happened once is told once: the caller looks at what the event is about."""
    db.execute(_KEEP, _row(event))


def keep_all(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Append events, in their order."""
    db.executemany(_KEEP, map(_row, events))


def after(db: sqlite3.Connection, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
    """The next events that the filter wants. Raises EventUnknown."""
    return _between(db, _position(db, after_event_id), _LAST, wanted, limit)


def next_batch(db: sqlite3.Connection, after_event_id: str, wanted: EventFilter, limit: int) -> EventBatch:
    """The next events that the filter wants, among the next LOOKED_AT. Raises EventUnknown."""
    position = _position(db, after_event_id)
    # A user's events have an index, and without a filter the limit is the bound.
    end = None
    if (wanted.provider or wanted.types) and not wanted.user_id:
        end = db.execute(
            "SELECT id, position FROM events WHERE position > ? ORDER BY position LIMIT 1 OFFSET ?",
            (position, LOOKED_AT - 1),
        ).fetchone()
    more = end is not None
    if end is None:
        end = db.execute("SELECT id, position FROM events ORDER BY position DESC LIMIT 1").fetchone()
    if end is None:
        return EventBatch((), after_event_id, more=False)
    events = _between(db, position, end["position"], wanted, limit)
    if len(events) == limit:
        return EventBatch(events, events[-1].id, more=True)
    return EventBatch(events, end["id"], more)


def newest_id(db: sqlite3.Connection) -> str:
    """The id of the newest event, '' where there is none."""
    row = db.execute("SELECT id FROM events ORDER BY position DESC LIMIT 1").fetchone()
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
    return tuple(_event(row) for row in rows)


def _row(event: Event) -> tuple[str, ...]:
    return (
        event.id,
        event.type.value,
        time_text(event.time),
        event.provider,
        event.user_id,
        event.session_id,
        event.request_id,
        event.reference,
    )


def _event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        type=EventType(row["type"]),
        time=time_of(row["time"]),
        provider=row["provider"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        request_id=row["request_id"],
        reference=row["reference"],
    )
