"""Changes of providers' states: disabled and enabled, by which operator."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.ids import new_id
from gateway.store.models import Actor, Page, ProviderState, ProviderStateChange
from gateway.store.rows import STATE_CHANGE_COLUMNS
from gateway.store.sqlite import journal
from gateway.store.sqlite.codecs import CODEC

_INSERT = f"INSERT INTO provider_switches ({STATE_CHANGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - fixed names


def change_provider_state(
    db: sqlite3.Connection, provider: str, to: ProviderState, actor: Actor, reason: str, now: datetime
) -> tuple[ProviderStateChange | None, bool]:
    """Change a provider's state, with its line in the journal: the newest change, and whether this call made it."""
    row = db.execute(
        "SELECT * FROM provider_switches WHERE provider = ? ORDER BY number DESC LIMIT 1", (provider,)
    ).fetchone()
    newest = CODEC.state_change(row) if row is not None else None
    if to is (newest.state if newest else ProviderState.ENABLED):
        return newest, False
    change = ProviderStateChange(new_id(), provider, newest.number + 1 if newest else 1, now, actor, reason)
    db.execute(_INSERT, CODEC.state_change_values(change))
    journal.insert(db, [change.line()])
    return change, True


def current_provider_states(db: sqlite3.Connection) -> Sequence[ProviderStateChange]:
    """The newest change of each provider."""
    rows = db.execute(
        """
        SELECT * FROM provider_switches
        WHERE (provider, number) IN (SELECT provider, max(number) FROM provider_switches GROUP BY provider)
        """
    )
    return tuple(CODEC.state_change(row) for row in rows)


def provider_state_changes(
    db: sqlite3.Connection, *, provider: str = "", page_token: str = "", limit: int = 100
) -> Page[ProviderStateChange]:
    """Changes, newest first. Raises PageTokenUnknown."""
    of_provider = "AND provider = :provider" if provider else ""
    rows = db.execute(
        f"""
        SELECT * FROM provider_switches WHERE position < :position {of_provider}
        ORDER BY position DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {"position": paging.position_of(page_token, paging.MAX_POSITION), "provider": provider, "limit": limit},
    ).fetchall()
    return paging.page_of(rows, limit, CODEC.state_change)
