"""The journal: every exchange with a provider, either direction."""

from collections.abc import Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.models import Direction, Exchange, Page
from gateway.store.postgres.codecs import CODEC, arrays, require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.rows import EXCHANGE_COLUMNS

_INSERT = f"""
INSERT INTO exchanges ({EXCHANGE_COLUMNS})
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[],
    $10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[], $15::integer[], $16::integer[],
    $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::boolean[],
    $25::text[], $26::text[]
)
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - fixed fragments only

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


async def insert(db: Connection, exchanges: Sequence[Exchange]) -> None:
    """Insert lines, in their order. A known id is the same line: a write with an unknown outcome may be repeated.

    A caller's lines come last, in the order of their ids: two gateways may insert the same, and wait for each other.
    """
    ordered = sorted(exchanges, key=lambda line: line.id if line.direction is Direction.CALLER else "")
    await db.execute(_INSERT, *arrays([CODEC.exchange_values(exchange) for exchange in ordered]))


async def exchanges(
    db: Connection, *, request_id: str = "", provider: str = "", limit: int = 100
) -> Sequence[Exchange]:
    """Lines of the journal, oldest first; an empty request_id or provider means any."""
    of_request = "request_id = $1 AND request_id <> ''" if request_id else "$1 = ''"  # so that the index serves
    rows = await db.fetch(
        f"""
        SELECT {EXCHANGE_COLUMNS} FROM exchanges
        WHERE {of_request} AND ($2 = '' OR provider = $2)
        ORDER BY position LIMIT $3
        """,  # noqa: S608 - fixed fragments only
        request_id,
        provider,
        limit,
    )
    return tuple(CODEC.exchange(row) for row in rows)


async def exchange(db: Connection, id: str) -> Exchange | None:
    """A line by its id."""
    row = await db.fetchrow(f"SELECT {EXCHANGE_COLUMNS} FROM exchanges WHERE id = $1", id)  # noqa: S608 - fixed names
    return CODEC.exchange(row) if row is not None else None


async def refused_callbacks(
    db: Connection, *, provider: str = "", page_token: str = "", limit: int = 100
) -> Page[Exchange]:
    """Callbacks that were neither ACCEPTED nor CREDITED, newest first. Raises PageTokenUnknown."""
    rows = await db.fetch(
        f"""
        SELECT {EXCHANGE_COLUMNS}, position FROM exchanges
        WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED') AND position < $1
            AND ($2 = '' OR provider = $2)
        ORDER BY position DESC LIMIT $3
        """,  # noqa: S608 - fixed fragments only
        paging.position_of(page_token, paging.MAX_POSITION),
        provider,
        limit + 1,
    )
    return paging.page_of(rows, limit, CODEC.exchange)


async def trim_bodies(db: Connection, ended_before: datetime, limit: int) -> int:
    """Remove heads and bodies from lines of that age, oldest first, and return the number of lines.

    Several gateways may do so at the same time: each trims other lines.
    """
    return len(await db.fetch(_TRIM, require_aware(ended_before), limit))
