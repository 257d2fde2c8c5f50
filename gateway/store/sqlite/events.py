"""Events: what subscribers are told, in one order, and how they wake.

One writer gives the positions, so that their order is the order of the commits.
"""

import asyncio
import sqlite3
from collections.abc import Sequence

from gateway.store.interface import EventUnknown, StoreUnavailable
from gateway.store.records import Event, EventFilter, EventType
from gateway.store.sqlite.columns import time_of, time_text


def keep(db: sqlite3.Connection, event: Event) -> None:
    """Append an event. What happened once is told once: the caller looks at what the event is about."""
    db.execute(
        """
        INSERT INTO events (id, type, time, provider, user_id, session_id, request_id, reference)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            event.id,
            event.type.value,
            time_text(event.time),
            event.provider,
            event.user_id,
            event.session_id,
            event.request_id,
            event.reference,
        ),
    )


def after(db: sqlite3.Connection, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
    """The next events that the filter wants. Raises EventUnknown."""
    conditions = ["position > :position"]
    values: dict[str, str | int] = {"position": _position(db, after_event_id), "limit": limit}
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


def newest_id(db: sqlite3.Connection) -> str:
    """The id of the newest event, '' where there is none."""
    row = db.execute("SELECT id FROM events ORDER BY position DESC LIMIT 1").fetchone()
    return row["id"] if row is not None else ""


def newest_position(db: sqlite3.Connection) -> int:
    """The position of the newest event, 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])


class EventCommits:
    """Counts the commits that added events, and wakes those who wait for one. Lives on the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()

    def add(self) -> None:
        """One more commit added events."""
        self._count += 1
        self._wake()

    def close(self) -> None:
        """Nothing more will come: whoever waits gets StoreUnavailable."""
        self._closed = True
        self._wake()

    async def beyond(self, seen: int) -> int:
        """Wait until the count is more than `seen`, and answer it."""
        while self._count <= seen:
            if self._closed:
                raise StoreUnavailable("the store is closed: no more events come")
            await self._changed.wait()
        return self._count

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _position(db: sqlite3.Connection, event_id: str) -> int:
    if not event_id:
        return 0
    row = db.execute("SELECT position FROM events WHERE id = ?", (event_id,)).fetchone()
    if row is None:
        raise EventUnknown(event_id)
    return int(row["position"])


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
