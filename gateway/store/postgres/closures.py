"""Closures and their targets: intents, attempts, outcomes.

A target keeps the certainty of its concluded attempts together, and whether one is under way. One that is still under
way when the next begins was cut off by a crash: nobody knows what it did.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg
import msgspec

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
from gateway.store.postgres import items
from gateway.store.postgres.codecs import Row, arrays, journal_text, require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork

# Sorted, so that two gateways that begin the same requests wait for each other in one order.
_INTEND = """
WITH intended AS (
    INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at)
    SELECT request_id, $8, user_id, clear_history, reason, now
    FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::timestamptz[])
        AS intent (request_id, user_id, clear_history, reason, now)
    ORDER BY request_id
    ON CONFLICT (request_id) DO NOTHING
    RETURNING request_id
)
INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, under_way, begun_at)
SELECT request_id, 1, provider, session_id, game_id, 1, true, now
FROM intended JOIN unnest($1::text[], $6::text[], $7::text[], $9::text[], $5::timestamptz[])
    AS aim (request_id, provider, session_id, game_id, now) USING (request_id)
RETURNING request_id
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

# In order, and all that a batch begins again, settles and fails at once: so gateways never wait in a circle.
_HOLD = """
SELECT request_id, provider, outcome FROM targets WHERE request_id = ANY($1::text[]) AND number = 1
ORDER BY request_id
FOR NO KEY UPDATE
"""

_SETTLE = """
UPDATE targets SET under_way = false, outcome = settled.outcome, answer_code = settled.code,
    answer_description = settled.description, answer_http_status = settled.http_status, end_time = settled.end_time
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[])
    AS settled (request_id, outcome, code, description, http_status, end_time)
WHERE targets.request_id = settled.request_id AND targets.number = 1
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


class BeginClose(msgspec.Struct, frozen=True):
    """One caller's intent as an operation of its own. The committer carries those of a batch out together instead."""

    request_id: str
    target: Target
    now: datetime

    async def __call__(self, writing: UnitOfWork) -> CloseRecord:
        (begun,) = await begin_together(writing, (self,))
        if isinstance(begun, Exception):
            raise begun
        return begun


class SettleClose(msgspec.Struct, frozen=True):
    """One caller's success, likewise."""

    request_id: str
    settled: CloseSuccess
    exchange: Exchange
    event: Event | None

    async def __call__(self, writing: UnitOfWork) -> None:
        (error,) = await settle_together(writing, (self,))
        if error is not None:
            raise error


class FailClose(msgspec.Struct, frozen=True):
    """The conclusion of one caller's attempt that failed. The committer holds its target with those of the others."""

    request_id: str
    failed: CloseFailure
    exchange: Exchange | None
    item: ReconciliationItem | None

    async def __call__(self, writing: UnitOfWork) -> None:
        await fail_close(writing, self.request_id, self.failed, self.exchange, self.item)


async def begin_together(
    writing: UnitOfWork, begins: Sequence[BeginClose], concluded: Sequence[str] = ()
) -> list[CloseRecord | ContentDiffers]:
    """Keep the intents and count an attempt for each, unless its target is settled; what each comes to.

    `concluded` are the requests that the same transaction concludes later: their targets are held along.
    """
    first: dict[str, BeginClose] = {}
    for begin in begins:
        first.setdefault(begin.request_id, begin)
    new = await _insert(writing.db, tuple(first.values()))
    if known := first.keys() - new:
        await lock_targets(writing.db, known.union(concluded))
    return [
        CloseRecord(begin.request_id, begin.target, attempts=1, settled=None, certainty=None)
        if first[begin.request_id] is begin and begin.request_id in new
        else await _begun_again(writing, begin)
        for begin in begins
    ]


async def _begun_again(writing: UnitOfWork, begin: BeginClose) -> CloseRecord | ContentDiffers:
    row = await _known(writing.db, begin.request_id)
    if field := _target(row).first_difference(begin.target):
        return ContentDiffers(field)
    known = _record(row)
    if known.settled is not None:
        return known
    await writing.db.execute(_BEGIN, begin.request_id, known.certainty, require_aware(begin.now))
    return CloseRecord(begin.request_id, begin.target, known.attempts + 1, settled=None, certainty=known.certainty)


async def find_close(db: Connection, request_id: str) -> CloseRecord | None:
    """A CloseSession as it is known, None where it is not."""
    row = await db.fetchrow(_FIND, request_id)
    return _record(row) if row is not None else None


async def lock_targets(db: Connection, request_ids: Collection[str]) -> list[asyncpg.Record]:
    """Targets, held until the end of the transaction: another gateway may be about to conclude them."""
    return await db.fetch(_HOLD, list(request_ids))


async def settle_together(
    writing: UnitOfWork, settles: Sequence[SettleClose], failing: Sequence[str] = ()
) -> list[LookupError | None]:
    """Keep successes, their journal lines and their events; a target settled before keeps its first, and no event.

    An open item that says that nobody knows is resolved. What is answered is the fault of one that was never begun.
    `failing` are the requests that the same transaction fails later: their targets are held along.
    """
    ids = [settle.request_id for settle in settles]
    kept = {row["request_id"]: row for row in await lock_targets(writing.db, {*ids, *failing})}
    settling: dict[str, SettleClose] = {}
    for settle in settles:
        if settle.request_id in kept:
            writing.lines.append(settle.exchange)
            if kept[settle.request_id]["outcome"] is None:
                settling.setdefault(settle.request_id, settle)
    if settling:
        await writing.db.execute(_SETTLE, *arrays([_settling(settle) for settle in settling.values()]))
        closed = [(kept[each]["provider"], each, settle.exchange.ended_at) for each, settle in settling.items()]
        await items.resolve_closed(writing.db, closed)
        writing.events += [settle.event for settle in settling.values() if settle.event is not None]
    return [None if each in kept else _never_begun(each) for each in ids]


async def fail_close(
    writing: UnitOfWork,
    request_id: str,
    failed: CloseFailure,
    exchange: Exchange | None,
    item: ReconciliationItem | None,
) -> None:
    """Conclude the attempt under way, and keep its journal line. Raises LookupError where it was never begun."""
    row = await _known(writing.db, request_id)
    if exchange is not None:
        writing.lines.append(exchange)
    if row["outcome"] is not None:
        return
    certainty = combine_certainty(_certainty(row["certainty"]), failed.certainty)
    await writing.db.execute(_FAIL, request_id, certainty.value, failed.reason, journal_text(failed.detail))
    if certainty is Certainty.UNKNOWN and item is not None:
        await items.keep(writing.db, [item])
    elif certainty is not Certainty.UNKNOWN:
        await items.resolve_kind(
            writing.db, ReconciliationKind.CLOSE_UNKNOWN, row["provider"], request_id, "concluded", failed.end_time
        )


async def report_abandoned(writing: UnitOfWork, begun_before: datetime, now: datetime) -> int:
    """Keep an item for each attempt that began before that moment and was never concluded; how many are new."""
    rows = await writing.db.fetch(_ABANDONED, require_aware(begun_before))
    if not rows:
        return 0
    found = [abandoned(row["request_id"], row["provider"], row["user_id"], now) for row in rows]
    return len(await items.keep(writing.db, found))


async def _insert(db: Connection, begins: Sequence[BeginClose]) -> frozenset[str]:
    """Those whose intent is new."""
    ids, users, clears, reasons, moments, providers, sessions, games = arrays(
        [
            (
                begin.request_id,
                begin.target.user_id,
                begin.target.clear_history,
                begin.target.reason,
                require_aware(begin.now),
                begin.target.provider,
                begin.target.session_id,
                begin.target.game_id,
            )
            for begin in begins
        ]
    )
    kind = ClosureKind.CLOSE_SESSION.value
    rows = await db.fetch(_INTEND, ids, users, clears, reasons, moments, providers, sessions, kind, games)
    return frozenset(row[0] for row in rows)


def _settling(settle: SettleClose) -> Row:
    answer = settle.settled.answer
    return (
        settle.request_id,
        settle.settled.outcome.value,
        journal_text(answer.code),
        journal_text(answer.description),
        answer.http_status,
        require_aware(settle.settled.end_time),
    )


async def _known(db: Connection, request_id: str) -> asyncpg.Record:
    """The target's row, held until the end of the transaction: another gateway may be about to conclude it."""
    row = await db.fetchrow(f"{_FIND} FOR NO KEY UPDATE OF targets", request_id)
    if row is None:
        raise _never_begun(request_id)
    return row


def _never_begun(request_id: str) -> LookupError:
    return LookupError(f"no closure {request_id!r} is kept: begin_close comes first")


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


def _settled(row: asyncpg.Record) -> CloseSuccess | None:
    if row["outcome"] is None:
        return None
    answer = ProviderAnswer(row["answer_code"], row["answer_description"], row["answer_http_status"])
    return CloseSuccess(Outcome(row["outcome"]), answer, row["end_time"])


def _certainty(text: str | None) -> Certainty | None:
    return Certainty(text) if text is not None else None
