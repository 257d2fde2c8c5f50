"""Reconciliation items: what an operator must look at, and how it was resolved."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime

from gateway.store import paging
from gateway.store.base import AlreadyResolved
from gateway.store.models import Actor, Event, Page, Posting
from gateway.store.reconciliation import ItemFilter, OpenItemCount, ReconciliationItem, ReconciliationKind
from gateway.store.rows import ITEM_COLUMNS
from gateway.store.sqlite.codecs import CODEC, time_text

CREDITED = "credited"
"""The resolution of an item whose Result was credited later."""


# The index is named: without statistics the planner may scan the whole table instead.
OPEN_COUNTS = """
SELECT provider, kind, COUNT(*), MIN(created_at) FROM reconciliation_items INDEXED BY reconciliation_items_open
WHERE resolved_at IS NULL GROUP BY provider, kind
"""


def insert(db: sqlite3.Connection, item: ReconciliationItem) -> bool:
    """Insert an item; False where it is known.

    One that the gateway itself resolved opens again: the same after a credit is a new contradiction. One that an
    operator resolved stays resolved.
    """
    inserted = db.execute(
        f"""
        INSERT INTO reconciliation_items ({ITEM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (provider, reference, user_id, fault, field) DO UPDATE SET
            id = excluded.id,
            detail = excluded.detail,
            created_at = excluded.created_at,
            exchange_id = excluded.exchange_id,
            kind = excluded.kind,
            resolved_at = NULL,
            resolution = ''
        WHERE resolved_at IS NOT NULL AND resolved_by = ''
        """,  # noqa: S608 - fixed names
        CODEC.item_values(item),
    )
    return inserted.rowcount == 1


def insert_with_events(db: sqlite3.Connection, items: Iterable[tuple[ReconciliationItem, Event | None]]) -> list[Event]:
    """Insert items, and return the events of those that are new."""
    return [event for item, event in items if insert(db, item) and event is not None]


def resolve_credited(db: sqlite3.Connection, posting: Posting, now: datetime) -> None:
    """Resolve the open items of a Result that is credited; another player's under the same reference stay open."""
    db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?
        WHERE provider = ? AND reference = ? AND user_id IN (?, '') AND kind <> 'CLOSE_UNKNOWN' AND resolved_at IS NULL
        """,
        (time_text(now), CREDITED, posting.provider, posting.reference, posting.user_id),
    )


def resolve_kind(
    db: sqlite3.Connection, kind: ReconciliationKind, provider: str, reference: str, resolution: str, now: datetime
) -> None:
    """Resolve the open items of one kind under a reference: the outcome that was unknown is known now."""
    db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?
        WHERE provider = ? AND reference = ? AND kind = ? AND resolved_at IS NULL
        """,
        (time_text(now), resolution, provider, reference, kind.value),
    )


def items(
    db: sqlite3.Connection, wanted: ItemFilter, *, page_token: str = "", limit: int = 100
) -> Page[ReconciliationItem]:
    """Items that the filter wants, oldest first. Raises PageTokenUnknown."""
    conditions = [f"resolved_at IS {'NOT ' if wanted.resolved else ''}NULL", "position > :position"]
    if wanted.provider:
        conditions.append("provider = :provider")
    if wanted.user_id:
        conditions.append("user_id = :user_id")
    position = paging.position_of(page_token, 0)
    rows = db.execute(
        f"""
        SELECT * FROM reconciliation_items WHERE {" AND ".join(conditions)} ORDER BY position LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {"position": position, "provider": wanted.provider, "user_id": wanted.user_id, "limit": limit},
    ).fetchall()
    return paging.page_of(rows, limit, CODEC.item)


def find_item(db: sqlite3.Connection, id: str) -> ReconciliationItem | None:
    """An item by its id."""
    row = db.execute("SELECT * FROM reconciliation_items WHERE id = ?", (id,)).fetchone()
    return CODEC.item(row) if row is not None else None


def open_item_counts(db: sqlite3.Connection) -> list[OpenItemCount]:
    """The open items by provider and kind."""
    return [
        OpenItemCount(provider, kind, count, CODEC.time_of(oldest))
        for provider, kind, count, oldest in db.execute(OPEN_COUNTS)
    ]


def resolve_item(db: sqlite3.Connection, id: str, actor: Actor, reason: str, now: datetime) -> ReconciliationItem:
    """Resolve an open item in an operator's name. Raises LookupError and AlreadyResolved."""
    known = find_item(db, id)
    if known is None:
        raise LookupError(f"there is no reconciliation item {id!r}")
    if known.resolution is not None:
        raise AlreadyResolved(known)
    rows = db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?, resolved_by = ?, resolved_on_behalf_of = ?
        WHERE id = ? RETURNING *
        """,
        (time_text(now), reason, *CODEC.actor_values(actor), id),
    ).fetchall()
    return CODEC.item(rows[0])
