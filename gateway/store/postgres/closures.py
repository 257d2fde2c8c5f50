"""Closures and their targets: intents, attempts, outcomes.

A target keeps the certainty of its concluded attempts together, and whether one is under way. One that is still under
way when the next begins was cut off by a crash: nobody knows what it did.
"""

from datetime import datetime

import asyncpg

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.closures import abandoned, together
from gateway.store.interface import ContentDiffers
from gateway.store.postgres import items
from gateway.store.postgres.columns import journal_text, moment
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.writing import Writing
from gateway.store.records import (
    CloseRecord,
    ClosureKind,
    Event,
    Exchange,
    Failed,
    ItemKind,
    ReconciliationItem,
    Settled,
    Target,
)

_INTEND = """
INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (request_id) DO NOTHING
RETURNING 1
"""

_AIM = """
INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, under_way, begun_at)
VALUES ($1, 1, $2, $3, $4, 1, true, $5)
"""

_FIND = """
SELECT request_id, user_id, clear_history, reason, provider, session_id, game_id, attempts, under_way, certainty,
    outcome, answer_code, answer_description, answer_http_status, end_time
FROM closures JOIN targets USING (request_id)
WHERE request_id = $1 AND number = 1
"""

_BEGIN = """
UPDATE targets SET attempts = attempts + 1, under_way = true, certainty = $2, begun_at = $3
WHERE request_id = $1 AND number = 1
"""

_SETTLE = """
UPDATE targets SET under_way = false, outcome = $2, answer_code = $3, answer_description = $4, answer_http_status = $5,
    end_time = $6
WHERE request_id = $1 AND number = 1
"""

_FAIL = """
UPDATE targets SET under_way = false, certainty = $2, failure_reason = $3, failure_detail = $4
WHERE request_id = $1 AND number = 1
"""

_ABANDONED = """
SELECT request_id, provider, user_id
FROM targets JOIN closures USING (request_id)
WHERE under_way AND begun_at < $1 AND NOT EXISTS (
    SELECT 1 FROM reconciliation_items AS item
    WHERE item.provider = targets.provider AND item.reference = targets.request_id AND item.kind = 'CLOSE_UNKNOWN'
        AND (item.resolved_at IS NULL OR item.resolved_by <> '')
)
ORDER BY request_id
"""


async def begin_close(writing: Writing, request_id: str, target: Target, now: datetime) -> CloseRecord:
    """Keep the intent and count an attempt, unless the target is settled. Raises ContentDiffers."""
    if await _insert(writing.db, request_id, target, now):
        return CloseRecord(request_id, target, attempts=1, settled=None, certainty=None)
    row = await _known(writing.db, request_id)
    if field := _target(row).first_difference(target):
        raise ContentDiffers(field)
    known = _record(row)
    if known.settled is not None:
        return known
    await writing.db.execute(_BEGIN, request_id, known.certainty, moment(now))
    return CloseRecord(request_id, target, known.attempts + 1, settled=None, certainty=known.certainty)


async def find_close(db: Connection, request_id: str) -> CloseRecord | None:
    """A CloseSession as it is known, None where it is not."""
    row = await db.fetchrow(_FIND, request_id)
    return _record(row) if row is not None else None


async def settle_close(
    writing: Writing, request_id: str, settled: Settled, exchange: Exchange, event: Event | None
) -> None:
    """Keep a success, its journal line and its event; a target settled before keeps its first success, and no event.

    Raises LookupError where the request was never begun.
    """
    row = await _known(writing.db, request_id)
    writing.lines.append(exchange)
    if row["outcome"] is not None:
        return
    answer = settled.answer
    await writing.db.execute(
        _SETTLE,
        request_id,
        settled.outcome.value,
        journal_text(answer.code),
        journal_text(answer.description),
        answer.http_status,
        moment(settled.end_time),
    )
    await items.resolve_kind(
        writing.db, ItemKind.CLOSE_UNKNOWN, row["provider"], request_id, "closed", exchange.ended_at
    )
    if event is not None:
        writing.events.append(event)


async def fail_close(
    writing: Writing, request_id: str, failed: Failed, exchange: Exchange | None, item: ReconciliationItem | None
) -> None:
    """Conclude the attempt under way, and keep its journal line. Raises LookupError where it was never begun."""
    row = await _known(writing.db, request_id)
    if exchange is not None:
        writing.lines.append(exchange)
    if row["outcome"] is not None:
        return
    certainty = together(_certainty(row["certainty"]), failed.certainty)
    await writing.db.execute(_FAIL, request_id, certainty.value, failed.reason, journal_text(failed.detail))
    if certainty is Certainty.UNKNOWN and item is not None:
        await items.keep(writing.db, [item])
    elif certainty is not Certainty.UNKNOWN:
        await items.resolve_kind(
            writing.db, ItemKind.CLOSE_UNKNOWN, row["provider"], request_id, "concluded", failed.end_time
        )


async def report_abandoned(writing: Writing, begun_before: datetime, now: datetime) -> int:
    """Keep an item for each attempt that began before that moment and was never concluded; how many are new."""
    rows = await writing.db.fetch(_ABANDONED, moment(begun_before))
    if not rows:
        return 0
    found = [abandoned(row["request_id"], row["provider"], row["user_id"], now) for row in rows]
    return len(await items.keep(writing.db, found))


async def _insert(db: Connection, request_id: str, target: Target, now: datetime) -> bool:
    """Whether the intent is new."""
    kind = ClosureKind.CLOSE_SESSION.value
    kept = await db.fetchval(
        _INTEND, request_id, kind, target.user_id, target.clear_history, target.reason, moment(now)
    )
    if kept is None:
        return False
    await db.execute(_AIM, request_id, target.provider, target.session_id, target.game_id, moment(now))
    return True


async def _known(db: Connection, request_id: str) -> asyncpg.Record:
    """The target's row, held until the end of the transaction: another gateway may be about to conclude it."""
    row = await db.fetchrow(f"{_FIND} FOR NO KEY UPDATE OF targets", request_id)
    if row is None:
        raise LookupError(f"no closure {request_id!r} is kept: begin_close comes first")
    return row


def _record(row: asyncpg.Record) -> CloseRecord:
    settled = _settled(row)
    certainty = Certainty.UNKNOWN if row["under_way"] else _certainty(row["certainty"])
    return CloseRecord(
        request_id=row["request_id"],
        target=_target(row),
        attempts=row["attempts"],
        settled=settled,
        certainty=certainty if settled is None else None,
    )


def _target(row: asyncpg.Record) -> Target:
    return Target(
        provider=row["provider"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        game_id=row["game_id"],
        clear_history=row["clear_history"],
        reason=row["reason"],
    )


def _settled(row: asyncpg.Record) -> Settled | None:
    if row["outcome"] is None:
        return None
    answer = ProviderAnswer(row["answer_code"], row["answer_description"], row["answer_http_status"])
    return Settled(Outcome(row["outcome"]), answer, row["end_time"])


def _certainty(text: str | None) -> Certainty | None:
    return Certainty(text) if text is not None else None
