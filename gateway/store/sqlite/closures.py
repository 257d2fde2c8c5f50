"""Closures and their targets: intents, attempts, outcomes.

A target has the combined certainty of its concluded attempts, and whether one is in progress. One that is still in
progress when the next begins was cut off by a crash: its outcome is unknown.
"""

import sqlite3
from datetime import datetime, timedelta

from msgspec import structs

from adapters.contract import Certainty
from gateway.store.base import ContentDiffers
from gateway.store.closures import abandoned, combine_certainty, never_begun
from gateway.store.models import (
    THE_GATEWAY,
    Actor,
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    ClosureKind,
    Event,
    Exchange,
    Target,
)
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind
from gateway.store.rows import CLOSE_COLUMNS, certainty_of
from gateway.store.sqlite import events, items, journal
from gateway.store.sqlite.codecs import CODEC, time_text


def begin_close(
    db: sqlite3.Connection, request_id: str, target: Target, now: datetime, actor: Actor = THE_GATEWAY
) -> CloseRecord:
    """Insert the intent and count an attempt, unless the target is settled. Raises ContentDiffers."""
    if _insert(db, request_id, target, now, actor):
        return CloseRecord(request_id, target, attempts=1, settled=None, certainty=None, actor=actor)
    known = CODEC.close_record(_known(db, request_id))
    if field := known.target.first_difference(target):
        raise ContentDiffers(field)
    if known.settled is not None:
        return known
    db.execute(
        """
        UPDATE targets SET attempts = attempts + 1, under_way = 1, begun_at = ?, certainty = ?
        WHERE request_id = ? AND number = 1
        """,
        (time_text(now), known.certainty, request_id),
    )
    return structs.replace(known, attempts=known.attempts + 1)


def find_close(db: sqlite3.Connection, request_id: str) -> CloseRecord | None:
    """A CloseSession by its request_id."""
    row = _find(db, request_id)
    return CODEC.close_record(row) if row is not None else None


def settle_close(
    db: sqlite3.Connection, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
) -> None:
    """Store a success, its journal line and its event; a target settled before keeps its first success, and no event.

    An open CLOSE_UNKNOWN item is resolved. Raises LookupError where the request was never begun.
    """
    journal.insert(db, [exchange])
    updated = db.execute(
        """
        UPDATE targets SET
            under_way = 0, outcome = ?, answer_code = ?, answer_description = ?, answer_http_status = ?, end_time = ?
        WHERE request_id = ? AND number = 1 AND outcome IS NULL
        """,
        (*CODEC.close_success_values(settled), request_id),
    )
    if updated.rowcount == 0:
        _known(db, request_id)
        return
    if event is not None:
        events.insert(db, [event])
    items.resolve_kind(db, ReconciliationKind.CLOSE_UNKNOWN, exchange.provider, request_id, "closed", exchange.ended_at)


def fail_close(
    db: sqlite3.Connection,
    request_id: str,
    failed: CloseFailure,
    exchange: Exchange | None,
    item: ReconciliationItem | None = None,
) -> None:
    """Conclude the attempt in progress, with its journal line, and its item where the outcome is unknown.

    Raises LookupError where the request was never begun.
    """
    row = _known(db, request_id)
    if exchange is not None:
        journal.insert(db, [exchange])
    if row["outcome"] is not None:
        return
    certainty = combine_certainty(certainty_of(row["certainty"]), failed.certainty)
    db.execute(
        """
        UPDATE targets SET under_way = 0, certainty = ?, failure_reason = ?, failure_detail = ?
        WHERE request_id = ? AND number = 1
        """,
        (certainty, failed.reason, failed.detail, request_id),
    )
    if certainty is not Certainty.UNKNOWN:
        items.resolve_kind(
            db, ReconciliationKind.CLOSE_UNKNOWN, row["provider"], request_id, "concluded", failed.end_time
        )
    elif item is not None:
        items.insert(db, item)


def report_abandoned(db: sqlite3.Connection, older_than: timedelta, now: datetime) -> int:
    """Insert an item for each attempt of that age that was never concluded; how many are new."""
    rows = db.execute(
        """
        SELECT * FROM targets JOIN closures USING (request_id)
        WHERE under_way = 1 AND coalesce(begun_at, created_at) < ? AND NOT EXISTS (
            SELECT 1 FROM reconciliation_items AS known
            WHERE known.provider = targets.provider AND known.reference = targets.request_id
                AND known.kind = 'CLOSE_UNKNOWN' AND (known.resolved_at IS NULL OR known.resolved_by <> '')
        )
        """,
        (time_text(now - older_than),),
    ).fetchall()
    return sum(items.insert(db, abandoned(row["request_id"], row["provider"], row["user_id"], now)) for row in rows)


def _insert(db: sqlite3.Connection, request_id: str, target: Target, now: datetime, actor: Actor) -> bool:
    """Insert a request with its first attempt in progress; False where it is known."""
    kind, at = ClosureKind.CLOSE_SESSION.value, time_text(now)
    inserted = db.execute(
        """
        INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at, actor, on_behalf_of)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (request_id) DO NOTHING
        """,
        (request_id, kind, target.user_id, target.clear_history, target.reason, at, *CODEC.actor_values(actor)),
    )
    if inserted.rowcount == 0:
        return False
    db.execute(
        """
        INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, under_way, begun_at)
        VALUES (?, 1, ?, ?, ?, 1, 1, ?)
        """,
        (request_id, target.provider, target.session_id, target.game_id, at),
    )
    return True


def _find(db: sqlite3.Connection, request_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        f"""
        SELECT {CLOSE_COLUMNS} FROM closures JOIN targets USING (request_id) WHERE request_id = ? AND number = 1
        """,  # noqa: S608 - fixed names
        (request_id,),
    ).fetchone()
    return row


def _known(db: sqlite3.Connection, request_id: str) -> sqlite3.Row:
    row = _find(db, request_id)
    if row is None:
        raise never_begun(request_id)
    return row
