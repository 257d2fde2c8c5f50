"""The journal: every exchange with a provider, either direction."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from adapters.contract import Certainty
from gateway.store import paging
from gateway.store.models import Direction, Exchange, Message, Page, Redelivery
from gateway.store.postgres.codecs import Row, arrays, journal_text, require_aware
from gateway.store.postgres.connection import Connection

_COLUMNS = """
id, direction, provider, operation, method, path, request_head, request_body, reply_head, reply_body, started_at,
ended_at, verdict, request_id, attempt, status, certainty, detail, peer, attempt_uuid, redelivery_of, redelivered_by,
redelivery_why, trimmed
"""

_KEEP = f"""
INSERT INTO exchanges ({_COLUMNS})
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[],
    $10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[], $15::integer[], $16::integer[],
    $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::boolean[]
)
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - fixed fragments only

_NEWEST = 2**63 - 1
"""A position behind any that PostgreSQL gives."""

_TRIM = """
UPDATE exchanges SET request_head = '', request_body = '', reply_head = '', reply_body = '', trimmed = true
WHERE position IN (
    SELECT position FROM exchanges
    WHERE NOT trimmed AND ended_at < $1 AND NOT EXISTS (
        SELECT 1 FROM reconciliation_items AS item WHERE item.exchange_id = exchanges.id AND item.resolution = ''
    )
    ORDER BY ended_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING 1
"""


async def keep(db: Connection, exchanges: Sequence[Exchange]) -> None:
    """Write lines. One said again under its id is the same line: a caller may repeat a write that it is unsure of."""
    await db.execute(_KEEP, *arrays([_row(exchange) for exchange in exchanges]))


async def exchanges(db: Connection, request_id: str, provider: str, limit: int) -> Sequence[Exchange]:
    """Lines of the journal, oldest first; an empty request_id or provider means any."""
    of_request = "request_id = $1 AND request_id <> ''" if request_id else "$1 = ''"  # so that the index serves
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM exchanges
        WHERE {of_request} AND ($2 = '' OR provider = $2)
        ORDER BY position LIMIT $3
        """,  # noqa: S608 - fixed fragments only
        request_id,
        provider,
        limit,
    )
    return tuple(_exchange(row) for row in rows)


async def find(db: Connection, id: str) -> Exchange | None:
    """A line by its id."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM exchanges WHERE id = $1", id)  # noqa: S608 - fixed names
    return _exchange(row) if row is not None else None


async def refused_callbacks(db: Connection, provider: str, page_token: str, limit: int) -> Page[Exchange]:
    """Callbacks that came to neither ACCEPTED nor CREDITED, newest first. Raises PageTokenUnknown."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS}, position FROM exchanges
        WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED') AND position < $1
            AND ($2 = '' OR provider = $2)
        ORDER BY position DESC LIMIT $3
        """,  # noqa: S608 - fixed fragments only
        paging.position_of(page_token, _NEWEST),
        provider,
        limit + 1,
    )
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_exchange(row) for row in rows[:limit]), more)


async def trim_bodies(db: Connection, ended_before: datetime, limit: int) -> int:
    """Take heads and bodies away from lines of that age, oldest first, and answer how many it were.

    Several gateways may do so at the same time: each takes lines of its own.
    """
    return len(await db.fetch(_TRIM, require_aware(ended_before), limit))


def _row(exchange: Exchange) -> Row:
    redelivery = exchange.redelivery
    return (
        exchange.id,
        exchange.direction.value,
        exchange.provider,
        journal_text(exchange.operation),
        journal_text(exchange.method),
        journal_text(exchange.path),
        journal_text(exchange.request.head),
        exchange.request.body,
        journal_text(exchange.reply.head),
        exchange.reply.body,
        require_aware(exchange.started_at),
        require_aware(exchange.ended_at),
        journal_text(exchange.verdict),
        exchange.request_id,
        exchange.attempt,
        exchange.status,
        exchange.certainty.value if exchange.certainty is not None else None,
        journal_text(exchange.detail),
        exchange.peer,
        exchange.attempt_uuid,
        redelivery.exchange_id if redelivery is not None else "",
        journal_text(redelivery.actor) if redelivery is not None else "",
        journal_text(redelivery.reason) if redelivery is not None else "",
        exchange.trimmed,
    )


def _exchange(row: asyncpg.Record) -> Exchange:
    redelivery = None
    if row["redelivery_of"]:
        redelivery = Redelivery(row["redelivery_of"], row["redelivered_by"], row["redelivery_why"])
    return Exchange(
        id=row["id"],
        direction=Direction(row["direction"]),
        provider=row["provider"],
        operation=row["operation"],
        method=row["method"],
        path=row["path"],
        request=Message(row["request_head"], row["request_body"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        verdict=row["verdict"],
        request_id=row["request_id"],
        attempt=row["attempt"],
        status=row["status"],
        reply=Message(row["reply_head"], row["reply_body"]),
        certainty=Certainty(row["certainty"]) if row["certainty"] is not None else None,
        detail=row["detail"],
        peer=row["peer"],
        attempt_uuid=row["attempt_uuid"],
        redelivery=redelivery,
        trimmed=row["trimmed"],
    )
