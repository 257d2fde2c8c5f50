"""Reconciliation items: what a person must look at, and what became of it."""

import sqlite3
from datetime import datetime

from gateway.store import paging
from gateway.store.base import AlreadyResolved
from gateway.store.models import ItemFilter, Page, Posting, ReconciliationItem, ReconciliationKind, Resolution
from gateway.store.sqlite.codecs import time_of, time_text

CREDITED = "credited"
"""Why an item is resolved whose Result was applied after all."""

_COLUMNS = "id, provider, reference, fault, field, detail, user_id, created_at, exchange_id, kind"


def keep(db: sqlite3.Connection, item: ReconciliationItem) -> bool:
    """Keep an item; False where it is known.

    One that the gateway itself resolved opens again: the same after a credit is a contradiction of its own. What a
    person settled stays so.
    """
    kept = db.execute(
        f"""
        INSERT INTO reconciliation_items ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
        (
            item.id,
            item.provider,
            item.reference,
            item.fault,
            item.field,
            item.detail,
            item.user_id,
            time_text(item.created_at),
            item.exchange_id,
            item.kind.value,
        ),
    )
    return kept.rowcount == 1


def resolve_credited(db: sqlite3.Connection, posting: Posting, now: datetime) -> None:
    """Resolve the open items of a Result that is credited; another player's under the same reference stay open."""
    db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?
        WHERE provider = ? AND reference = ? AND user_id IN (?, '') AND kind <> ? AND resolved_at IS NULL
        """,
        (
            time_text(now),
            CREDITED,
            posting.provider,
            posting.reference,
            posting.user_id,
            ReconciliationKind.CLOSE_UNKNOWN.value,
        ),
    )


def resolve_kind(
    db: sqlite3.Connection, kind: ReconciliationKind, provider: str, reference: str, why: str, now: datetime
) -> None:
    """Resolve the open items of one kind under a reference: the gateway itself has learnt what was unknown."""
    db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?
        WHERE provider = ? AND reference = ? AND kind = ? AND resolved_at IS NULL
        """,
        (time_text(now), why, provider, reference, kind.value),
    )


def items(db: sqlite3.Connection, wanted: ItemFilter, page_token: str, limit: int) -> Page[ReconciliationItem]:
    """Items that the filter wants, oldest first. Raises PageTokenUnknown."""
    conditions = [f"resolved_at IS {'NOT ' if wanted.resolved else ''}NULL", "position > :position"]
    if wanted.provider:
        conditions.append("provider = :provider")
    if wanted.user_id:
        conditions.append("user_id = :user_id")
    rows = db.execute(
        f"""
        SELECT * FROM reconciliation_items WHERE {" AND ".join(conditions)} ORDER BY position LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {
            "position": paging.position_of(page_token, 0),
            "provider": wanted.provider,
            "user_id": wanted.user_id,
            "limit": limit,
        },
    ).fetchall()
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_item(row) for row in rows[:limit]), more)


def find(db: sqlite3.Connection, id: str) -> ReconciliationItem | None:
    """An item by its id."""
    row = db.execute("SELECT * FROM reconciliation_items WHERE id = ?", (id,)).fetchone()
    return _item(row) if row is not None else None


def resolve(db: sqlite3.Connection, id: str, by: str, why: str, now: datetime) -> ReconciliationItem:
    """Settle an open item in a person's name. Raises LookupError and AlreadyResolved."""
    known = find(db, id)
    if known is None:
        raise LookupError(f"no reconciliation item {id!r} is kept")
    if known.resolution is not None:
        raise AlreadyResolved(known)
    rows = db.execute(
        "UPDATE reconciliation_items SET resolved_at = ?, resolved_by = ?, resolution = ? WHERE id = ? RETURNING *",
        (time_text(now), by, why, id),
    ).fetchall()
    return _item(rows[0])


def _item(row: sqlite3.Row) -> ReconciliationItem:
    resolution = None
    if row["resolved_at"] is not None:
        resolution = Resolution(time_of(row["resolved_at"]), row["resolved_by"], row["resolution"])
    return ReconciliationItem(
        id=row["id"],
        provider=row["provider"],
        reference=row["reference"],
        fault=row["fault"],
        field=row["field"],
        detail=row["detail"],
        user_id=row["user_id"],
        created_at=time_of(row["created_at"]),
        exchange_id=row["exchange_id"],
        kind=ReconciliationKind(row["kind"]),
        resolution=resolution,
    )
