"""What is kept of callbacks that move no money: expiries, and those that came to nothing."""

import sqlite3

from gateway.store.models import Event, Exchange, ReconciliationItem, ReconciliationKind
from gateway.store.sqlite import events, items, journal, ledger


def record_expiry(db: sqlite3.Connection, event: Event, provider_id: str, exchange: Exchange) -> bool:
    """Keep the journal line, and the event where this expiry is new; whether it is."""
    journal.keep(db, exchange)
    kept = db.execute(
        """
        INSERT INTO expiries (provider, provider_id, session_id, user_id, event_id) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (provider, provider_id, session_id, user_id) DO NOTHING
        """,
        (event.provider, provider_id, event.session_id, event.user_id, event.id),
    )
    if kept.rowcount == 0:
        return False
    events.keep(db, event)
    return True


def record_exchange(
    db: sqlite3.Connection, exchange: Exchange, item: ReconciliationItem | None, event: Event | None
) -> None:
    """Keep the journal line, the item, and the event where the item is new.

    Nobody is in doubt about a Result whose credit is kept: no item says so.
    """
    journal.keep(db, exchange)
    if item is not None and item.kind is ReconciliationKind.RESULT_UNKNOWN and ledger.is_wallets(db, item):
        return
    if item is not None and items.keep(db, item) and event is not None:
        events.keep(db, event)
