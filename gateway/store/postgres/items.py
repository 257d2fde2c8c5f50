"""Reconciliation items: what an operator must look at, and how it was resolved."""

from collections.abc import Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.base import AlreadyResolved
from gateway.store.models import Actor, Event, Page, Posting
from gateway.store.postgres.codecs import CODEC, arrays, journal_text, require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.reconciliation import ItemFilter, OpenItemCount, ReconciliationItem, ReconciliationKind
from gateway.store.rows import ITEM_COLUMNS

CREDITED = "credited"
"""The resolution of an item whose Result was credited later."""

CLOSED = "closed"
"""The resolution of an item whose close succeeded later."""

_READ = f"{ITEM_COLUMNS}, resolved_at, resolved_by, resolved_on_behalf_of, resolution, position"

_INSERT = f"""
INSERT INTO reconciliation_items AS known ({ITEM_COLUMNS})
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::text[],
    $10::text[]
) AS item ({ITEM_COLUMNS})
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

# Each look-up is one by key: OFFSET keeps it separate. `resolution = ''` means `resolved_at IS NULL`, and keeps the
# planner from the index of open items, which seems the shortest as long as the table is not analysed.
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

OPEN_COUNTS = """
SELECT provider, kind, count(*), min(created_at) FROM reconciliation_items
WHERE resolved_at IS NULL GROUP BY provider, kind
"""

_RESOLVE = f"""
UPDATE reconciliation_items SET resolved_at = $2, resolution = $3, resolved_by = $4, resolved_on_behalf_of = $5
WHERE id = $1 AND resolved_at IS NULL
RETURNING {_READ}
"""  # noqa: S608 - fixed fragments only


async def insert(db: Connection, items: Sequence[ReconciliationItem]) -> frozenset[str]:
    """Insert items, and return the ids of those that are new: known ones stay as they are.

    One that the gateway itself resolved opens again: the same after a credit is a new contradiction. One that an
    operator resolved stays resolved.
    """
    first: dict[tuple[str, ...], ReconciliationItem] = {}
    for item in items:
        first.setdefault((item.provider, item.reference, item.user_id, item.fault, item.field), item)
    rows = await db.fetch(_INSERT, *arrays([CODEC.item_values(item) for item in first.values()]))
    return frozenset(row["id"] for row in rows)


async def insert_with_events(db: Connection, items: Sequence[tuple[ReconciliationItem, Event | None]]) -> list[Event]:
    """Insert items, and return the events of those that are new."""
    new = await insert(db, [item for item, _ in items])
    return [event for item, event in items if event is not None and item.id in new]


async def resolve_credited(db: Connection, credited: Sequence[tuple[Posting, datetime]]) -> None:
    """Resolve the open items of Results that are credited; another player's under the same reference stay open."""
    rows = [(posting.provider, posting.reference, posting.user_id, require_aware(now)) for posting, now in credited]
    if found := await db.fetch(_OPEN, *arrays(rows)):
        await db.execute(_RESOLVE_FOUND, *arrays([tuple(row) for row in found]), CREDITED)


async def resolve_closed(db: Connection, closed: Sequence[tuple[str, str, datetime]]) -> None:
    """Resolve the open items of closes, by provider, request_id and the time of their success."""
    rows = [(provider, request_id, require_aware(at)) for provider, request_id, at in closed]
    if found := await db.fetch(_OPEN_CLOSES, *arrays(rows)):
        await db.execute(_RESOLVE_FOUND, *arrays([tuple(row) for row in found]), CLOSED)


async def resolve_kind(
    db: Connection, kind: ReconciliationKind, provider: str, reference: str, resolution: str, now: datetime
) -> None:
    """Resolve the open items of one kind under a reference: the outcome that was unknown is known now."""
    await db.execute(_RESOLVE_KIND, kind.value, provider, reference, resolution, require_aware(now))


async def items(
    db: Connection, wanted: ItemFilter, *, page_token: str = "", limit: int = 100
) -> Page[ReconciliationItem]:
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
    return paging.page_of(rows, limit, CODEC.item)


async def find_item(db: Connection, id: str) -> ReconciliationItem | None:
    """An item by its id."""
    row = await db.fetchrow(f"SELECT {_READ} FROM reconciliation_items WHERE id = $1", id)  # noqa: S608 - fixed names
    return CODEC.item(row) if row is not None else None


async def open_item_counts(db: Connection) -> list[OpenItemCount]:
    """The open items by provider and kind."""
    return [OpenItemCount(*row) for row in await db.fetch(OPEN_COUNTS)]


async def resolve_item(db: Connection, id: str, actor: Actor, reason: str, now: datetime) -> ReconciliationItem:
    """Resolve an open item in an operator's name. Raises LookupError and AlreadyResolved, and writes nothing then."""
    row = await db.fetchrow(_RESOLVE, id, require_aware(now), journal_text(reason), *CODEC.actor_values(actor))
    if row is not None:
        return CODEC.item(row)
    known = await find_item(db, id)
    if known is None:
        raise LookupError(f"there is no reconciliation item {id!r}")
    raise AlreadyResolved(known)
