"""Reconciliation items: what a person must look at."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gateway.store.records import Posting, ReconciliationItem
from gateway.store.sqlite.columns import time_of, time_text

CREDITED = "credited"
"""The resolution of an item whose Result was applied after all."""


def keep(db: sqlite3.Connection, item: ReconciliationItem) -> bool:
    """Keep an item; False where it is known.

    An item that a credit resolved opens again: the same refusal after the credit is a contradiction of its own.
    """
    kept = db.execute(
        """
        INSERT INTO reconciliation_items (
            id, provider, reference, fault, field, detail, user_id, created_at, exchange_id
        ) VALUES (:id, :provider, :reference, :fault, :field, :detail, :user_id, :created_at, :exchange_id)
        ON CONFLICT (provider, reference, user_id, fault, field) DO UPDATE SET
            id = excluded.id,
            detail = excluded.detail,
            created_at = excluded.created_at,
            exchange_id = excluded.exchange_id,
            resolved_at = NULL,
            resolution = ''
        WHERE resolution = :credited
        """,
        {
            "id": item.id,
            "provider": item.provider,
            "reference": item.reference,
            "fault": item.fault,
            "field": item.field,
            "detail": item.detail,
            "user_id": item.user_id,
            "created_at": time_text(item.created_at),
            "exchange_id": item.exchange_id,
            "credited": CREDITED,
        },
    )
    return kept.rowcount == 1


def resolve_credited(db: sqlite3.Connection, posting: Posting, now: datetime) -> None:
    """Resolve the open items of a Result that is credited; another player's under the same reference stay open."""
    db.execute(
        """
        UPDATE reconciliation_items SET resolved_at = ?, resolution = ?
        WHERE provider = ? AND reference = ? AND user_id IN (?, '') AND resolved_at IS NULL
        """,
        (time_text(now), CREDITED, posting.provider, posting.reference, posting.user_id),
    )


def open_items(db: sqlite3.Connection) -> Sequence[ReconciliationItem]:
    """Items that nobody has resolved, oldest first."""
    rows = db.execute("SELECT * FROM reconciliation_items WHERE resolved_at IS NULL ORDER BY position")
    return tuple(
        ReconciliationItem(
            id=row["id"],
            provider=row["provider"],
            reference=row["reference"],
            fault=row["fault"],
            field=row["field"],
            detail=row["detail"],
            user_id=row["user_id"],
            created_at=time_of(row["created_at"]),
            exchange_id=row["exchange_id"],
        )
        for row in rows
    )
