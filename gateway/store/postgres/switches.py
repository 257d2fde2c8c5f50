"""Who switched which provider off or on. Gateways that switch the same one wait for each other by its next number."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from gateway.store import paging
from gateway.store.ids import new_id
from gateway.store.models import Page, ProviderState, ProviderStateChange
from gateway.store.postgres.codecs import journal_text, require_aware
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork

_COLUMNS = "id, provider, number, switched_at, switched_by, reason"

_KEEP = f"""
INSERT INTO provider_switches ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (provider, number) DO NOTHING
RETURNING 1
"""  # noqa: S608 - fixed names

_OF_PROVIDER = f"SELECT {_COLUMNS} FROM provider_switches WHERE provider = $1"  # noqa: S608 - fixed names

_NEWEST = 2**63 - 1
"""A position behind any that PostgreSQL gives."""


async def switch(
    writing: UnitOfWork, provider: str, to: ProviderState, by: str, why: str, now: datetime
) -> tuple[ProviderStateChange | None, bool]:
    """Switch a provider, with its line in the journal: the switch that stands, and whether it is new."""
    row = await writing.db.fetchrow(f"{_OF_PROVIDER} ORDER BY number DESC LIMIT 1", provider)
    standing = _switch(row) if row is not None else None
    if to is (standing.state if standing else ProviderState.ENABLED):
        return standing, False
    number = standing.number + 1 if standing else 1
    made = ProviderStateChange(new_id(), provider, number, require_aware(now), journal_text(by), journal_text(why))
    if await writing.db.fetchval(_KEEP, made.id, provider, number, made.at, made.actor, made.reason):
        writing.lines.append(made.line())
        return made, True
    # Another gateway was first: a switch of this number is one to the same position.
    row = await writing.db.fetchrow(f"{_OF_PROVIDER} AND number = $2", provider, number)
    return (_switch(row) if row is not None else None), False


async def standing(db: Connection) -> Sequence[ProviderStateChange]:
    """The newest switch of each provider."""
    rows = await db.fetch(
        f"SELECT DISTINCT ON (provider) {_COLUMNS} FROM provider_switches ORDER BY provider, number DESC"  # noqa: S608 - fixed names
    )
    return tuple(_switch(row) for row in rows)


async def switches(db: Connection, provider: str, page_token: str, limit: int) -> Page[ProviderStateChange]:
    """Switches, newest first. Raises PageTokenUnknown."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS}, position FROM provider_switches
        WHERE position < $1 AND ($2 = '' OR provider = $2)
        ORDER BY position DESC LIMIT $3
        """,  # noqa: S608 - fixed names
        paging.position_of(page_token, _NEWEST),
        provider,
        limit + 1,
    )
    more = paging.encode(str(rows[limit - 1]["position"])) if len(rows) > limit else ""
    return Page(tuple(_switch(row) for row in rows[:limit]), more)


def _switch(row: asyncpg.Record) -> ProviderStateChange:
    return ProviderStateChange(
        id=row["id"],
        provider=row["provider"],
        number=row["number"],
        at=row["switched_at"],
        actor=row["switched_by"],
        reason=row["reason"],
    )
