"""Closures and their targets: intents, attempts, outcomes.

A target has the combined certainty of its concluded attempts, and whether one is in progress. One that is still in
progress when the next begins was cut off by a crash: its outcome is unknown.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec
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
from gateway.store.postgres import items
from gateway.store.postgres.codecs import CODEC, arrays, journal_text, require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind
from gateway.store.rows import CLOSE_COLUMNS, certainty_of

# Sorted, so that two gateways that begin the same requests wait for each other in one order.
_INTEND = """
WITH intended AS (
    INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at, actor, on_behalf_of)
    SELECT request_id, $8, user_id, clear_history, reason, now, actor, on_behalf_of
    FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::timestamptz[], $10::text[], $11::text[])
        AS intent (request_id, user_id, clear_history, reason, now, actor, on_behalf_of)
    ORDER BY request_id
    ON CONFLICT (request_id) DO NOTHING
    RETURNING request_id
)
INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, under_way, begun_at)
SELECT request_id, 1, provider, session_id, game_id, 1, true, clock_timestamp()
FROM intended JOIN unnest($1::text[], $6::text[], $7::text[], $9::text[])
    AS aim (request_id, provider, session_id, game_id) USING (request_id)
RETURNING request_id
"""

_FIND = f"""
SELECT {CLOSE_COLUMNS} FROM closures JOIN targets USING (request_id) WHERE request_id = $1 AND number = 1
"""  # noqa: S608 - fixed names

_BEGIN = """
UPDATE targets SET attempts = attempts + 1, under_way = true, certainty = $2, begun_at = clock_timestamp()
WHERE request_id = $1 AND number = 1
"""

# In order, and all that a batch begins again, settles and fails at once: so gateways never deadlock.
_LOCK = """
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
WHERE under_way AND begun_at < clock_timestamp() - $1::interval AND NOT EXISTS (
    SELECT 1 FROM reconciliation_items AS item
    WHERE item.provider = targets.provider AND item.reference = targets.request_id AND item.kind = 'CLOSE_UNKNOWN'
        AND (item.resolved_at IS NULL OR item.resolved_by <> '')
)
ORDER BY request_id
"""


class BeginClose(msgspec.Struct, frozen=True):
    """One caller's intent as a separate operation. The committer executes those of a batch together instead."""

    request_id: str
    target: Target
    now: datetime
    actor: Actor = THE_GATEWAY

    async def __call__(self, work: UnitOfWork) -> CloseRecord:
        (begun,) = await begin_batch(work, (self,))
        if isinstance(begun, Exception):
            raise begun
        return begun


class SettleClose(msgspec.Struct, frozen=True):
    """One caller's success, likewise."""

    request_id: str
    settled: CloseSuccess
    exchange: Exchange
    event: Event | None

    async def __call__(self, work: UnitOfWork) -> None:
        (error,) = await settle_batch(work, (self,))
        if error is not None:
            raise error


class FailClose(msgspec.Struct, frozen=True):
    """The conclusion of one caller's attempt that failed. The committer locks its target with those of the others."""

    request_id: str
    failed: CloseFailure
    exchange: Exchange | None
    item: ReconciliationItem | None

    async def __call__(self, work: UnitOfWork) -> None:
        await fail_close(work, self.request_id, self.failed, self.exchange, self.item)


async def begin_batch(
    work: UnitOfWork, begins: Sequence[BeginClose], concluded: Sequence[str] = ()
) -> list[CloseRecord | ContentDiffers]:
    """Insert the intents and count an attempt for each, unless its target is settled; the result of each.

    `concluded` are the requests that the same transaction concludes later: their targets are locked too.
    """
    first: dict[str, BeginClose] = {}
    for begin in begins:
        first.setdefault(begin.request_id, begin)
    new = await _insert(work.db, tuple(first.values()))
    if known := first.keys() - new:
        await lock_targets(work.db, known.union(concluded))
    return [
        CloseRecord(begin.request_id, begin.target, attempts=1, settled=None, certainty=None, actor=begin.actor)
        if first[begin.request_id] is begin and begin.request_id in new
        else await _begun_again(work, begin)
        for begin in begins
    ]


async def _begun_again(work: UnitOfWork, begin: BeginClose) -> CloseRecord | ContentDiffers:
    known = CODEC.close_record(await _known(work.db, begin.request_id))
    if field := known.target.first_difference(begin.target):
        return ContentDiffers(field)
    if known.settled is not None:
        return known
    await work.db.execute(_BEGIN, begin.request_id, known.certainty)
    return structs.replace(known, attempts=known.attempts + 1)


async def find_close(db: Connection, request_id: str) -> CloseRecord | None:
    """A CloseSession by its request_id."""
    row = await db.fetchrow(_FIND, request_id)
    return CODEC.close_record(row) if row is not None else None


async def lock_targets(db: Connection, request_ids: Collection[str]) -> list[asyncpg.Record]:
    """Targets, locked until the end of the transaction: another gateway may be about to conclude them."""
    return await db.fetch(_LOCK, list(request_ids))


async def settle_batch(
    work: UnitOfWork, settles: Sequence[SettleClose], failing: Sequence[str] = ()
) -> list[LookupError | None]:
    """Store successes, their journal lines and their events; a target settled before keeps its first, and no event.

    An open CLOSE_UNKNOWN item is resolved. The result is the error of a request that was never begun.
    `failing` are the requests that the same transaction fails later: their targets are locked too.
    """
    ids = [settle.request_id for settle in settles]
    known = {row["request_id"]: row for row in await lock_targets(work.db, {*ids, *failing})}
    settling: dict[str, SettleClose] = {}
    for settle in settles:
        if settle.request_id in known:
            work.lines.append(settle.exchange)
            if known[settle.request_id]["outcome"] is None:
                settling.setdefault(settle.request_id, settle)
    if settling:
        await work.db.execute(
            _SETTLE, *arrays([(each, *CODEC.close_success_values(settle.settled)) for each, settle in settling.items()])
        )
        closed = [(known[each]["provider"], each, settle.exchange.ended_at) for each, settle in settling.items()]
        await items.resolve_closed(work.db, closed)
        work.events += [settle.event for settle in settling.values() if settle.event is not None]
    return [None if each in known else never_begun(each) for each in ids]


async def fail_close(
    work: UnitOfWork,
    request_id: str,
    failed: CloseFailure,
    exchange: Exchange | None,
    item: ReconciliationItem | None,
) -> None:
    """Conclude the attempt in progress, with its journal line. Raises LookupError where it was never begun."""
    row = await _known(work.db, request_id)
    if exchange is not None:
        work.lines.append(exchange)
    if row["outcome"] is not None:
        return
    certainty = combine_certainty(certainty_of(row["certainty"]), failed.certainty)
    await work.db.execute(_FAIL, request_id, certainty.value, failed.reason, journal_text(failed.detail))
    if certainty is Certainty.UNKNOWN and item is not None:
        await items.insert(work.db, [item])
    elif certainty is not Certainty.UNKNOWN:
        await items.resolve_kind(
            work.db, ReconciliationKind.CLOSE_UNKNOWN, row["provider"], request_id, "concluded", failed.end_time
        )


async def report_abandoned(work: UnitOfWork, older_than: timedelta, now: datetime) -> int:
    """Insert an item for each attempt of that age that was never concluded; how many are new.

    Beginnings and ages are by the server's clock: those of the gateways may differ by more than an attempt takes.
    """
    rows = await work.db.fetch(_ABANDONED, older_than)
    if not rows:
        return 0
    found = [abandoned(row["request_id"], row["provider"], row["user_id"], now) for row in rows]
    return len(await items.insert(work.db, found))


async def _insert(db: Connection, begins: Sequence[BeginClose]) -> frozenset[str]:
    """Insert intents; the requests that are new."""
    ids, users, clears, reasons, moments, providers, sessions, games, actors, persons = arrays(
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
                *CODEC.actor_values(begin.actor),
            )
            for begin in begins
        ]
    )
    kind = ClosureKind.CLOSE_SESSION.value
    rows = await db.fetch(
        _INTEND, ids, users, clears, reasons, moments, providers, sessions, kind, games, actors, persons
    )
    return frozenset(row[0] for row in rows)


async def _known(db: Connection, request_id: str) -> asyncpg.Record:
    """The target's row, locked until the end of the transaction: another gateway may be about to conclude it."""
    row = await db.fetchrow(f"{_FIND} FOR NO KEY UPDATE OF targets", request_id)
    if row is None:
        raise never_begun(request_id)
    return row
