"""Windows of what was credited, and the Results that the operator's wallet was asked to credit.

A window is locked until the end of the transaction, so that gateways judge one after the other. Windows are locked
after the accounts, and in their order.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from gateway.store import ceilings
from gateway.store.ceilings import Admission, Ceiling, Minutes, Window
from gateway.store.exact import normalize
from gateway.store.models import Posting, PostingRefused
from gateway.store.postgres.codecs import arrays
from gateway.store.postgres.connection import Connection

_LOCK = """
SELECT provider, currency, minutes
FROM unnest($1::text[], $2::text[]) AS wanted (provider, currency) JOIN credited_windows USING (provider, currency)
ORDER BY provider, currency
FOR UPDATE OF credited_windows
"""

_CREATE = """
INSERT INTO credited_windows (provider, currency, minutes)
SELECT provider, currency, '{}' FROM unnest($1::text[], $2::text[]) AS wanted (provider, currency)
ORDER BY provider, currency
ON CONFLICT DO NOTHING
"""

_WRITE = """
UPDATE credited_windows SET minutes = changed.minutes
FROM unnest($1::text[], $2::text[], $3::text[]) AS changed (provider, currency, minutes)
WHERE credited_windows.provider = changed.provider AND credited_windows.currency = changed.currency
"""

_ASKED = "SELECT currency, amount, minute FROM ceiling_admissions WHERE provider = $1 AND reference = $2"

_ASK = """
INSERT INTO ceiling_admissions (provider, reference, currency, amount, minute) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (provider, reference) DO UPDATE
SET currency = excluded.currency, amount = excluded.amount, minute = excluded.minute
"""

_ANSWERED = """
DELETE FROM ceiling_admissions WHERE provider = $1 AND reference = $2 RETURNING currency, amount, minute
"""


async def lock(db: Connection, windows: Sequence[Window]) -> dict[Window, Minutes]:
    """Lock windows, which are sorted, and read them. One that is not stored yet is created."""
    wanted = arrays(windows)
    rows = await db.fetch(_LOCK, *wanted)
    if len(rows) < len(windows):
        await db.execute(_CREATE, *wanted)
        rows = await db.fetch(_LOCK, *wanted)
    return {(provider, currency): ceilings.decode(minutes) for provider, currency, minutes in rows}


async def write(db: Connection, windows: Mapping[Window, Minutes]) -> None:
    """Store windows that are locked. There is at least one."""
    await db.execute(_WRITE, *arrays([(*window, ceilings.encode(minutes)) for window, minutes in windows.items()]))


async def admit(db: Connection, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
    """Count a Result before the operator's wallet is asked, or refuse it."""
    window, key = ceilings.window_of(posting), (posting.provider, posting.reference)
    minutes = (await lock(db, [window]))[window] if ceiling.counts else {}
    answer = ceilings.admitted(posting, ceiling, _admission(await db.fetchrow(_ASKED, *key)), minutes, now)
    if not isinstance(answer, Admission):
        return answer
    await db.execute(_ASK, *key, answer.currency, answer.amount, answer.minute)
    await write(db, {window: ceilings.added(minutes, answer.amount, now)})
    return None


async def settle(db: Connection, posting: Posting, now: datetime, *, new: bool) -> None:
    """The operator's wallet answered: count what it credited, and no longer count what it did not."""
    key = (posting.provider, posting.reference)
    asked = _admission(await db.fetchrow(_ASKED, *key))
    window = (posting.provider, asked.currency if asked else posting.currency)
    minutes = (await lock(db, [window]))[window]
    # Read again after the lock: the answer to another delivery of this Result may have been first.
    asked = _admission(await db.fetchrow(_ANSWERED, *key))
    await write(db, {window: ceilings.settled(minutes, posting, asked, now, new=new)})


def _admission(row: asyncpg.Record | None) -> Admission | None:
    return Admission(row["currency"], normalize(row["amount"]), row["minute"]) if row is not None else None
