"""Closures and their targets: intents, attempts, outcomes.

A target keeps the certainty of its concluded attempts together, and whether one is under way. One that is still under
way when the next begins was cut off by a crash: nobody knows what it did.
"""

import sqlite3
from datetime import datetime

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.base import ContentDiffers
from gateway.store.closures import abandoned, combine_certainty
from gateway.store.models import (
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    ClosureKind,
    Event,
    Exchange,
    ReconciliationItem,
    ReconciliationKind,
    Target,
)
from gateway.store.sqlite import events, items, journal
from gateway.store.sqlite.codecs import time_of, time_text


def begin_close(db: sqlite3.Connection, request_id: str, target: Target, now: datetime) -> CloseRecord:
    """Keep the intent and count an attempt, unless the target is settled. Raises ContentDiffers."""
    if _is_new(db, request_id, target, now):
        return CloseRecord(request_id, target, attempts=1, settled=None, certainty=None)
    row = _known(db, request_id)
    if field := _target(row).first_difference(target):
        raise ContentDiffers(field)
    known = _record(row)
    if known.settled is not None:
        return known
    db.execute(
        """
        UPDATE targets SET attempts = attempts + 1, under_way = 1, begun_at = ?, certainty = ?
        WHERE request_id = ? AND number = 1
        """,
        (time_text(now), known.certainty, request_id),
    )
    return CloseRecord(request_id, target, known.attempts + 1, settled=None, certainty=known.certainty)


def find_close(db: sqlite3.Connection, request_id: str) -> CloseRecord | None:
    """A CloseSession as it is known, None where it is not."""
    row = _row(db, request_id)
    return _record(row) if row is not None else None


def settle_close(
    db: sqlite3.Connection, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
) -> None:
    """Keep a success, its journal line and its event; a target settled before keeps its first success, and no event.

    An open item that says that nobody knows is resolved. Raises LookupError where the request was never begun.
    """
    journal.keep(db, exchange)
    settling = db.execute(
        """
        UPDATE targets SET
            under_way = 0, outcome = ?, answer_code = ?, answer_description = ?, answer_http_status = ?, end_time = ?
        WHERE request_id = ? AND number = 1 AND outcome IS NULL
        """,
        (
            settled.outcome.value,
            settled.answer.code,
            settled.answer.description,
            settled.answer.http_status,
            time_text(settled.end_time),
            request_id,
        ),
    )
    if settling.rowcount == 0:
        _known(db, request_id)
        return
    if event is not None:
        events.keep(db, event)
    items.resolve_kind(db, ReconciliationKind.CLOSE_UNKNOWN, exchange.provider, request_id, "closed", exchange.ended_at)


def fail_close(
    db: sqlite3.Connection,
    request_id: str,
    failed: CloseFailure,
    exchange: Exchange | None,
    item: ReconciliationItem | None,
) -> None:
    """Conclude the attempt under way, and keep its journal line, and its item where the outcome is unknown.

    Raises LookupError where it was never begun.
    """
    row = _known(db, request_id)
    if exchange is not None:
        journal.keep(db, exchange)
    if row["outcome"] is not None:
        return
    certainty = combine_certainty(_certainty(row["certainty"]), failed.certainty)
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
        items.keep(db, item)


def report_abandoned(db: sqlite3.Connection, begun_before: datetime, now: datetime) -> int:
    """Keep an item for each attempt of that age that was never concluded; how many are new."""
    rows = db.execute(
        """
        SELECT * FROM targets JOIN closures USING (request_id)
        WHERE under_way = 1 AND coalesce(begun_at, created_at) < ? AND NOT EXISTS (
            SELECT 1 FROM reconciliation_items AS known
            WHERE known.provider = targets.provider AND known.reference = targets.request_id
                AND known.kind = 'CLOSE_UNKNOWN' AND (known.resolved_at IS NULL OR known.resolved_by <> '')
        )
        """,
        (time_text(begun_before),),
    ).fetchall()
    return sum(items.keep(db, abandoned(row["request_id"], row["provider"], row["user_id"], now)) for row in rows)


def _is_new(db: sqlite3.Connection, request_id: str, target: Target, now: datetime) -> bool:
    """Keep a request that was not known, its first attempt begun; whether it was not."""
    inserting = db.execute(
        """
        INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (request_id) DO NOTHING
        """,
        (
            request_id,
            ClosureKind.CLOSE_SESSION.value,
            target.user_id,
            target.clear_history,
            target.reason,
            time_text(now),
        ),
    )
    if inserting.rowcount == 0:
        return False
    db.execute(
        """
        INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, under_way, begun_at)
        VALUES (?, 1, ?, ?, ?, 1, 1, ?)
        """,
        (request_id, target.provider, target.session_id, target.game_id, time_text(now)),
    )
    return True


def _row(db: sqlite3.Connection, request_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM closures JOIN targets USING (request_id) WHERE request_id = ? AND number = 1", (request_id,)
    ).fetchone()
    return row


def _known(db: sqlite3.Connection, request_id: str) -> sqlite3.Row:
    row = _row(db, request_id)
    if row is None:
        raise LookupError(f"no closure {request_id!r} is kept: begin_close comes first")
    return row


def _record(row: sqlite3.Row) -> CloseRecord:
    settled = _settled(row)
    certainty = _certainty(row["certainty"])
    if row["under_way"]:
        certainty = Certainty.UNKNOWN
    return CloseRecord(
        request_id=row["request_id"],
        target=_target(row),
        attempts=row["attempts"],
        settled=settled,
        certainty=certainty if settled is None else None,
    )


def _target(row: sqlite3.Row) -> Target:
    return Target(
        provider=row["provider"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        game_id=row["game_id"],
        clear_history=bool(row["clear_history"]),
        reason=row["reason"],
    )


def _settled(row: sqlite3.Row) -> CloseSuccess | None:
    if row["outcome"] is None:
        return None
    answer = ProviderAnswer(row["answer_code"], row["answer_description"], row["answer_http_status"])
    return CloseSuccess(Outcome(row["outcome"]), answer, time_of(row["end_time"]))


def _certainty(text: str | None) -> Certainty | None:
    return Certainty(text) if text is not None else None
