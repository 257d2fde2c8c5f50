"""The journal: every exchange with a provider, either direction."""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.models import Exchange, Page
from gateway.store.rows import EXCHANGE_COLUMNS
from gateway.store.sqlite.codecs import CODEC, time_text

_INSERT = f"""
    INSERT INTO exchanges ({EXCHANGE_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""  # noqa: S608 - fixed names


def insert(db: sqlite3.Connection, exchanges: Iterable[Exchange]) -> None:
    """Insert lines, in their order. A known id is the same line: a write with an unknown outcome may be repeated."""
    db.executemany(_INSERT, map(CODEC.exchange_values, exchanges))


def exchanges(
    db: sqlite3.Connection, *, request_id: str = "", provider: str = "", limit: int = 100
) -> Sequence[Exchange]:
    """Lines of the journal, oldest first; an empty request_id or provider means any."""
    conditions = ["1"]
    if request_id:
        conditions.append("request_id = :request_id AND request_id <> ''")  # the second half lets the index serve
    if provider:
        conditions.append("provider = :provider")
    rows = db.execute(
        f"SELECT * FROM exchanges WHERE {' AND '.join(conditions)} ORDER BY position LIMIT :limit",  # noqa: S608 - fixed fragments only
        {"request_id": request_id, "provider": provider, "limit": limit},
    )
    return tuple(CODEC.exchange(row) for row in rows)


def exchange(db: sqlite3.Connection, id: str) -> Exchange | None:
    """A line by its id."""
    row = db.execute("SELECT * FROM exchanges WHERE id = ?", (id,)).fetchone()
    return CODEC.exchange(row) if row is not None else None


def refused_callbacks(
    db: sqlite3.Connection, *, provider: str = "", page_token: str = "", limit: int = 100
) -> Page[Exchange]:
    """Callbacks that were neither ACCEPTED nor CREDITED, newest first. Raises PageTokenUnknown."""
    of_provider = "AND provider = :provider" if provider else ""
    rows = db.execute(
        f"""
        SELECT * FROM exchanges
        WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED') AND position < :position {of_provider}
        ORDER BY position DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {"position": paging.position_of(page_token, paging.MAX_POSITION), "provider": provider, "limit": limit},
    ).fetchall()
    return paging.page_of(rows, limit, CODEC.exchange)


def trim_bodies(db: sqlite3.Connection, ended_before: datetime, limit: int) -> int:
    """Remove heads and bodies from lines of that age, oldest first, and return the number of lines."""
    trimmed = db.execute(
        """
        UPDATE exchanges SET request_head = '', request_body = x'', reply_head = '', reply_body = x'', trimmed = 1
        WHERE position IN (
            SELECT position FROM exchanges
            WHERE trimmed = 0 AND ended_at < ? AND NOT EXISTS (
                SELECT 1 FROM reconciliation_items WHERE exchange_id = exchanges.id AND resolved_at IS NULL
            )
            ORDER BY ended_at LIMIT ?
        )
        """,
        (time_text(ended_before), limit),
    )
    return trimmed.rowcount
