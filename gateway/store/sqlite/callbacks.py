"""Callbacks that move no money: expiries, and refused callbacks."""

import sqlite3

from gateway.store.models import Event, Exchange
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind
from gateway.store.sqlite import events, items, journal, ledger


def record_expiry(db: sqlite3.Connection, event: Event, provider_id: str, exchange: Exchange) -> bool:
    """Insert the journal line, and the event where this expiry is new; whether it is."""
    journal.insert(db, [exchange])
    inserted = db.execute(
        """
        INSERT INTO expiries (provider, provider_id, session_id, user_id, event_id) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (provider, provider_id, session_id, user_id) DO NOTHING
        """,
        (event.provider, provider_id, event.session_id, event.user_id, event.id),
    )
    if inserted.rowcount == 0:
        return False
    events.insert(db, [event])
    return True


def record_exchange(
    db: sqlite3.Connection, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
) -> None:
    """Insert the journal line, the item, and the event where the item is new.

    An item that says that a Result's outcome is unknown is not inserted where its credit is stored.
    """
    journal.insert(db, [exchange])
    if item is None or (item.kind is ReconciliationKind.RESULT_UNKNOWN and ledger.has_wallet_credit(db, item)):
        return
    events.insert(db, items.insert_with_events(db, [(item, event)]))
