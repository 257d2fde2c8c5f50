"""The journal: every exchange with a provider, either direction."""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from adapters.contract import Certainty
from gateway.store import paging
from gateway.store.models import Direction, Exchange, Message, Page, Redelivery
from gateway.store.sqlite.codecs import time_of, time_text

_KEEP = """
    INSERT INTO exchanges (
        id, direction, provider, operation, method, path, request_head, request_body, reply_head, reply_body,
        started_at, ended_at, verdict, request_id, attempt, status, certainty, detail, peer, attempt_uuid,
        redelivery_of, redelivered_by, redelivery_why, trimmed
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING
"""

_NEWEST = 2**63 - 1
"""A position behind any that SQLite gives."""


def keep(db: sqlite3.Connection, exchange: Exchange) -> None:
    """Write a line. Said again under its id it is the same line: a caller may repeat a write that it is unsure of."""
    db.execute(_KEEP, _row(exchange))


def keep_all(db: sqlite3.Connection, exchanges: Iterable[Exchange]) -> None:
    """Write lines, in their order."""
    db.executemany(_KEEP, map(_row, exchanges))


def exchanges(db: sqlite3.Connection, request_id: str, provider: str, limit: int) -> Sequence[Exchange]:
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
    return tuple(_exchange(row) for row in rows)


def find(db: sqlite3.Connection, id: str) -> Exchange | None:
    """A line by its id."""
    row = db.execute("SELECT * FROM exchanges WHERE id = ?", (id,)).fetchone()
    return _exchange(row) if row is not None else None


def refused_callbacks(db: sqlite3.Connection, provider: str, page_token: str, limit: int) -> Page[Exchange]:
    """Callbacks that came to neither ACCEPTED nor CREDITED, newest first. Raises PageTokenUnknown."""
    of_provider = "AND provider = :provider" if provider else ""
    rows = db.execute(
        f"""
        SELECT * FROM exchanges
        WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED') AND position < :position {of_provider}
        ORDER BY position DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {"position": paging.position_of(page_token, _NEWEST), "provider": provider, "limit": limit},
    ).fetchall()
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_exchange(row) for row in rows[:limit]), more)


def trim_bodies(db: sqlite3.Connection, ended_before: datetime, limit: int) -> int:
    """Take heads and bodies away from lines of that age, oldest first, and answer how many it were."""
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


def _row(exchange: Exchange) -> tuple[str | int | bytes | None, ...]:
    redelivery = exchange.redelivery
    return (
        exchange.id,
        exchange.direction.value,
        exchange.provider,
        exchange.operation,
        exchange.method,
        exchange.path,
        exchange.request.head,
        exchange.request.body,
        exchange.reply.head,
        exchange.reply.body,
        time_text(exchange.started_at),
        time_text(exchange.ended_at),
        exchange.verdict,
        exchange.request_id,
        exchange.attempt,
        exchange.status,
        exchange.certainty.value if exchange.certainty is not None else None,
        exchange.detail,
        exchange.peer,
        exchange.attempt_uuid,
        redelivery.exchange_id if redelivery is not None else "",
        redelivery.actor if redelivery is not None else "",
        redelivery.reason if redelivery is not None else "",
        exchange.trimmed,
    )


def _exchange(row: sqlite3.Row) -> Exchange:
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
        started_at=time_of(row["started_at"]),
        ended_at=time_of(row["ended_at"]),
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
        trimmed=bool(row["trimmed"]),
    )
