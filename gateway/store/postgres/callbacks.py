"""What is kept of callbacks that move no money: expiries, and those that came to nothing."""

from hashlib import sha256

import msgspec

from gateway.store.models import Event, Exchange, ReconciliationItem, ReconciliationKind
from gateway.store.postgres import items, transactions
from gateway.store.postgres.unit_of_work import UnitOfWork

_EXPIRE = """
INSERT INTO expiries (digest, provider, provider_id, session_id, user_id, event_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (digest) DO NOTHING
RETURNING 1
"""


async def record_expiry(writing: UnitOfWork, event: Event, provider_id: str, exchange: Exchange) -> bool:
    """Keep the journal line, and the event where this expiry is new; whether it is."""
    content = (event.provider, provider_id, event.session_id, event.user_id)
    digest = sha256(msgspec.msgpack.encode(content)).digest()
    kept = await writing.db.fetchval(_EXPIRE, digest, *content, event.id)
    writing.lines.append(exchange)
    if kept is None:
        return False
    writing.events.append(event)
    return True


async def record_exchange(
    writing: UnitOfWork, exchange: Exchange, item: ReconciliationItem | None, event: Event | None
) -> None:
    """Keep the journal line, the item, and the event where the item is new.

    Nobody is in doubt about a Result whose credit is kept: no item says so.
    """
    writing.lines.append(exchange)
    if (
        item is not None
        and item.kind is ReconciliationKind.RESULT_UNKNOWN
        and await transactions.is_wallets(writing.db, item)
    ):
        return
    if item is not None:
        writing.events += await items.keep_telling(writing.db, [(item, event)])
