"""Reconciliation items: what a person must look at, and what became of it."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from gateway.store import paging
from gateway.store.base import AlreadyResolved
from gateway.store.models import Event, ItemFilter, Page, Posting, ReconciliationItem, ReconciliationKind, Resolution
from gateway.store.postgres.codecs import arrays, journal_text, require_aware
from gateway.store.postgres.connection import Connection

CREDITED = "credited"
"""Why an item is resolved whose Result was applied after all."""

CLOSED = "closed"
"""Why an item is resolved whose close succeeded after all."""

_COLUMNS = "id, provider, reference, fault, field, detail, user_id, created_at, exchange_id, kind"

_READ = f"{_COLUMNS}, resolved_at, resolved_by, resolution, position"

_KEEP = f"""
INSERT INTO reconciliation_items AS known ({_COLUMNS})
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::text[],
    $10::text[]
) AS item ({_COLUMNS})
ORDER BY item.provider, item.reference, item.user_id, item.fault, item.field
ON CONFLICT (provider, reference, user_id, fault, field) DO UPDATE SET
    id = excluded.id,
    detail = excluded.detail,
    created_at = excluded.created_at,
    exchange_id = excluded.exchange_id,
    kind = excluded.kind,
    resolved_at = NULL,
    resolution = ''
WHERE known.resolved_at IS NOT NULL AND known.resolved_by = ''
RETURNING id
"""  # noqa: S608 - fixed fragments only

# Each look-up is one by key: OFFSET keeps it apart, and `resolution = ''`, which says what `resolved_at IS NULL` does,
# keeps the index of open items out: it seems the shortest as long as nobody has counted them.
_OPEN = """
SELECT position, credited.at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS credited (provider, reference, user_id, at)
CROSS JOIN LATERAL (
    SELECT position FROM reconciliation_items AS item
    WHERE item.provider = credited.provider AND item.reference = credited.reference
        AND item.user_id IN (credited.user_id, '') AND item.kind <> 'CLOSE_UNKNOWN' AND item.resolution = ''
    OFFSET 0
) AS item
ORDER BY position
"""

_OPEN_CLOSES = """
SELECT position, closed.at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS closed (provider, reference, at)
CROSS JOIN LATERAL (
    SELECT position FROM reconciliation_items AS item
    WHERE item.provider = closed.provider AND item.reference = closed.reference
        AND item.kind = 'CLOSE_UNKNOWN' AND item.resolution = ''
    OFFSET 0
) AS item
ORDER BY position
"""

_RESOLVE_FOUND = """
UPDATE reconciliation_items AS item SET resolved_at = found.at, resolution = $3
FROM unnest($1::bigint[], $2::timestamptz[]) AS found (position, at)
WHERE item.position = found.position AND item.resolved_at IS NULL
"""

_RESOLVE_KIND = """
UPDATE reconciliation_items SET resolved_at = $5, resolution = $4
WHERE provider = $2 AND reference = $3 AND kind = $1 AND resolution = ''
"""

_SETTLE = f"""
UPDATE reconciliation_items SET resolved_at = $2, resolved_by = $3, resolution = $4
WHERE id = $1 AND resolved_at IS NULL
RETURNING {_READ}
"""  # noqa: S608 - fixed fragments only


async def keep(db: Connection, told: Sequence[ReconciliationItem]) -> frozenset[str]:
    """Keep items, and answer the ids of those that are new: known ones stay as they are.

    One that the gateway itself resolved opens again: the same after a credit is a contradiction of its own. What a
    person settled stays so.
    """
    first: dict[tuple[str, ...], ReconciliationItem] = {}
    for item in told:
        first.setdefault((item.provider, item.reference, item.user_id, item.fault, item.field), item)
    rows = await db.fetch(_KEEP, *arrays([_row(item) for item in first.values()]))
    return frozenset(row["id"] for row in rows)


async def keep_telling(db: Connection, told: Sequence[tuple[ReconciliationItem, Event | None]]) -> list[Event]:
    """Keep items, and answer the events of those that are new."""
    new = await keep(db, [item for item, _ in told])
    return [event for item, event in told if event is not None and item.id in new]


async def resolve_credited(db: Connection, credited: Sequence[tuple[Posting, datetime]]) -> None:
    """Resolve the open items of Results that are credited; another player's under the same reference stay open."""
    rows = [(posting.provider, posting.reference, posting.user_id, require_aware(now)) for posting, now in credited]
    if found := await db.fetch(_OPEN, *arrays(rows)):
        await db.execute(_RESOLVE_FOUND, *arrays([tuple(row) for row in found]), CREDITED)


async def resolve_closed(db: Connection, closed: Sequence[tuple[str, str, datetime]]) -> None:
    """Resolve the open items of closes, by provider and request_id: now everybody knows, since that moment."""
    rows = [(provider, request_id, require_aware(at)) for provider, request_id, at in closed]
    if found := await db.fetch(_OPEN_CLOSES, *arrays(rows)):
        await db.execute(_RESOLVE_FOUND, *arrays([tuple(row) for row in found]), CLOSED)


async def resolve_kind(
    db: Connection, kind: ReconciliationKind, provider: str, reference: str, why: str, now: datetime
) -> None:
    """Resolve the open items of one kind under a reference: the gateway itself has learnt what was unknown."""
    await db.execute(_RESOLVE_KIND, kind.value, provider, reference, why, require_aware(now))


async def items(db: Connection, wanted: ItemFilter, page_token: str, limit: int) -> Page[ReconciliationItem]:
    """Items that the filter wants, oldest first. Raises PageTokenUnknown."""
    rows = await db.fetch(
        f"""
        SELECT {_READ} FROM reconciliation_items
        WHERE resolved_at IS {"NOT " if wanted.resolved else ""}NULL AND position > $1
            AND ($2 = '' OR provider = $2) AND ($3 = '' OR user_id = $3)
        ORDER BY position LIMIT $4
        """,  # noqa: S608 - fixed fragments only
        paging.position_of(page_token, 0),
        wanted.provider,
        wanted.user_id,
        limit + 1,
    )
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_item(row) for row in rows[:limit]), more)


async def find(db: Connection, id: str) -> ReconciliationItem | None:
    """An item by its id."""
    row = await db.fetchrow(f"SELECT {_READ} FROM reconciliation_items WHERE id = $1", id)  # noqa: S608 - fixed names
    return _item(row) if row is not None else None


async def resolve(db: Connection, id: str, by: str, why: str, now: datetime) -> ReconciliationItem:
    """Settle an open item in a person's name. Raises LookupError and AlreadyResolved, and has written nothing then."""
    row = await db.fetchrow(_SETTLE, id, require_aware(now), journal_text(by), journal_text(why))
    if row is not None:
        return _item(row)
    known = await find(db, id)
    if known is None:
        raise LookupError(f"no reconciliation item {id!r} is kept")
    raise AlreadyResolved(known)


def _row(item: ReconciliationItem) -> tuple[str | datetime, ...]:
    return (
        item.id,
        item.provider,
        item.reference,
        item.fault,
        item.field,
        journal_text(item.detail),
        item.user_id,
        require_aware(item.created_at),
        item.exchange_id,
        item.kind.value,
    )


def _item(row: asyncpg.Record) -> ReconciliationItem:
    resolution = None
    if row["resolved_at"] is not None:
        resolution = Resolution(row["resolved_at"], row["resolved_by"], row["resolution"])
    return ReconciliationItem(
        id=row["id"],
        provider=row["provider"],
        reference=row["reference"],
        fault=row["fault"],
        field=row["field"],
        detail=row["detail"],
        user_id=row["user_id"],
        created_at=row["created_at"],
        exchange_id=row["exchange_id"],
        kind=ReconciliationKind(row["kind"]),
        resolution=resolution,
    )
