"""Changes of providers' states. Gateways that change the same provider wait for each other at its next number."""

from collections.abc import Sequence
from datetime import datetime

from gateway.store import paging
from gateway.store.ids import new_id
from gateway.store.models import Actor, Page, ProviderState, ProviderStateChange
from gateway.store.postgres.codecs import CODEC, journal_text
from gateway.store.postgres.connection import Connection
from gateway.store.postgres.unit_of_work import UnitOfWork
from gateway.store.rows import STATE_CHANGE_COLUMNS

_INSERT = f"""
INSERT INTO provider_switches ({STATE_CHANGE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (provider, number) DO NOTHING
RETURNING 1
"""  # noqa: S608 - fixed names

_OF_PROVIDER = f"SELECT {STATE_CHANGE_COLUMNS} FROM provider_switches WHERE provider = $1"  # noqa: S608 - fixed names

_CURRENT = f"""
SELECT DISTINCT ON (provider) {STATE_CHANGE_COLUMNS} FROM provider_switches ORDER BY provider, number DESC
"""  # noqa: S608 - fixed names

_PAGE = f"""
SELECT {STATE_CHANGE_COLUMNS}, position FROM provider_switches
WHERE position < $1 AND ($2 = '' OR provider = $2)
ORDER BY position DESC LIMIT $3
"""  # noqa: S608 - fixed names


async def change_provider_state(
    work: UnitOfWork, provider: str, to: ProviderState, actor: Actor, reason: str, now: datetime
) -> tuple[ProviderStateChange | None, bool]:
    """Change a provider's state, with its line in the journal: the newest change, and whether this call made it."""
    row = await work.db.fetchrow(f"{_OF_PROVIDER} ORDER BY number DESC LIMIT 1", provider)
    newest = CODEC.state_change(row) if row is not None else None
    if to is (newest.state if newest else ProviderState.ENABLED):
        return newest, False
    number = newest.number + 1 if newest else 1
    storable = Actor(*CODEC.actor_values(actor))
    change = ProviderStateChange(new_id(), provider, number, now, storable, journal_text(reason))
    if await work.db.fetchval(_INSERT, *CODEC.state_change_values(change)):
        work.lines.append(change.line())
        return change, True
    # Another gateway was first: a change of this number is one to the same state.
    row = await work.db.fetchrow(f"{_OF_PROVIDER} AND number = $2", provider, number)
    return (CODEC.state_change(row) if row is not None else None), False


async def current_provider_states(db: Connection) -> Sequence[ProviderStateChange]:
    """The newest change of each provider."""
    return tuple(CODEC.state_change(row) for row in await db.fetch(_CURRENT))


async def provider_state_changes(
    db: Connection, *, provider: str = "", page_token: str = "", limit: int = 100
) -> Page[ProviderStateChange]:
    """Changes, newest first. Raises PageTokenUnknown."""
    position = paging.position_of(page_token, paging.MAX_POSITION)
    return paging.page_of(await db.fetch(_PAGE, position, provider, limit + 1), limit, CODEC.state_change)
