"""The journal: every exchange with a provider, either direction."""

import sqlite3
from collections.abc import Sequence

from adapters.contract import Certainty
from gateway.store.records import Direction, Exchange, Message
from gateway.store.sqlite.columns import time_of, time_text


def keep(db: sqlite3.Connection, exchange: Exchange) -> None:
    """Write a line. Said again under its id it is the same line: a caller may repeat a write that it is unsure of."""
    db.execute(
        """
        INSERT INTO exchanges (
            id, direction, provider, operation, method, path, request_head, request_body, reply_head, reply_body,
            started_at, ended_at, verdict, request_id, attempt, status, certainty, detail, peer, attempt_uuid
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO NOTHING
        """,
        (
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
        ),
    )


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


def _exchange(row: sqlite3.Row) -> Exchange:
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
    )
