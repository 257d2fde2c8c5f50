"""Who switched which provider off or on."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.ids import new_id
from gateway.store.models import Page, ProviderState, ProviderStateChange
from gateway.store.sqlite import journal
from gateway.store.sqlite.codecs import time_of, time_text

_KEEP = """
    INSERT INTO provider_switches (id, provider, number, switched_at, switched_by, reason) VALUES (?, ?, ?, ?, ?, ?)
"""

_NEWEST = 2**63 - 1
"""A position behind any that SQLite gives."""


def switch(
    db: sqlite3.Connection, provider: str, to: ProviderState, by: str, why: str, now: datetime
) -> tuple[ProviderStateChange | None, bool]:
    """Switch a provider, with its line in the journal: the switch that stands, and whether it is new."""
    row = db.execute(
        "SELECT * FROM provider_switches WHERE provider = ? ORDER BY number DESC LIMIT 1", (provider,)
    ).fetchone()
    standing = _switch(row) if row is not None else None
    if to is (standing.state if standing else ProviderState.ENABLED):
        return standing, False
    made = ProviderStateChange(new_id(), provider, standing.number + 1 if standing else 1, now, by, why)
    db.execute(_KEEP, (made.id, provider, made.number, time_text(now), by, why))
    journal.keep(db, made.line())
    return made, True


def standing(db: sqlite3.Connection) -> Sequence[ProviderStateChange]:
    """The newest switch of each provider."""
    rows = db.execute(
        """
        SELECT * FROM provider_switches
        WHERE (provider, number) IN (SELECT provider, max(number) FROM provider_switches GROUP BY provider)
        """
    )
    return tuple(_switch(row) for row in rows)


def switches(db: sqlite3.Connection, provider: str, page_token: str, limit: int) -> Page[ProviderStateChange]:
    """Switches, newest first. Raises PageTokenUnknown."""
    of_provider = "AND provider = :provider" if provider else ""
    rows = db.execute(
        f"""
        SELECT * FROM provider_switches WHERE position < :position {of_provider}
        ORDER BY position DESC LIMIT :limit + 1
        """,  # noqa: S608 - fixed fragments only
        {"position": paging.position_of(page_token, _NEWEST), "provider": provider, "limit": limit},
    ).fetchall()
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_switch(row) for row in rows[:limit]), more)


def _switch(row: sqlite3.Row) -> ProviderStateChange:
    return ProviderStateChange(
        id=row["id"],
        provider=row["provider"],
        number=row["number"],
        at=time_of(row["switched_at"]),
        actor=row["switched_by"],
        reason=row["reason"],
    )
