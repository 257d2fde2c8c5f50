"""Callbacks that move no money: expiries, and refused callbacks."""

from hashlib import sha256

import msgspec

from gateway.store.models import Event, Exchange
from gateway.store.postgres import items, transactions
from gateway.store.postgres.unit_of_work import UnitOfWork
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind

_EXPIRE = """
INSERT INTO expiries (digest, provider, provider_id, session_id, user_id, event_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (digest) DO NOTHING
RETURNING 1
"""


async def record_expiry(work: UnitOfWork, event: Event, provider_id: str, exchange: Exchange) -> bool:
    """Insert the journal line, and the event where this expiry is new; whether it is."""
    content = (event.provider, provider_id, event.session_id, event.user_id)
    digest = sha256(msgspec.msgpack.encode(content)).digest()
    inserted = await work.db.fetchval(_EXPIRE, digest, *content, event.id)
    work.lines.append(exchange)
    if inserted is None:
        return False
    work.events.append(event)
    return True


async def record_exchange(
    work: UnitOfWork, exchange: Exchange, item: ReconciliationItem | None, event: Event | None
) -> None:
    """Insert the journal line, the item, and the event where the item is new.

    An item that says that a Result's outcome is unknown is not inserted where its credit is stored.
    """
    work.lines.append(exchange)
    if item is None:
        return
    if item.kind is ReconciliationKind.RESULT_UNKNOWN and await transactions.has_wallet_credit(work.db, item):
        return
    work.events += await items.insert_with_events(work.db, [(item, event)])
