"""Stores of any size, filled by SQL: the rows that past Results and closes would have left in the tables.

References and request ids are spread over their indexes, as the providers' are; the gateway's ids are in order. The
journal is left empty: its lines are in order too, and no call reads them.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass

import asyncpg

from bench.environment import PROVIDERS

ACCOUNTS = 10_000
PROVIDER = PROVIDERS[0]
RESULTS_A_CLOSE = 10
"""Every tenth Result comes with a close."""

_KEYS = 1 << 44
_TIME = "'2026-01-01T00:00:00.000000+00:00'"

_ACCOUNT = f"""
    INSERT INTO accounts (user_id, currency, opening, cash, opened_at)
    SELECT 'player-' || n, 'USD', '0', '0', {_TIME} FROM {{series}}
"""  # noqa: S608 - fixed fragments

_STATEMENTS = (
    f"""
    INSERT INTO transactions (provider, reference, kind, transaction_id, user_id, currency, amount, round_id, game_id,
        session_id, promo_reference, created_at)
    SELECT '{PROVIDER}', {{reference}}, 'RESULT', {{id}}, 'player-' || (n % {ACCOUNTS}), 'USD', '10', '5103188801',
        'Im_60_tumblefortune', '', '', {_TIME}
    FROM {{series}}
    """,  # noqa: S608 - fixed fragments and numbers, here and below
    f"""
    INSERT INTO events (position, id, type, time, provider, user_id, session_id, request_id, reference)
    SELECT {{newest}} + n, {{id}}, 'RESULT_CREDITED', {_TIME}, '{PROVIDER}', 'player-' || (n % {ACCOUNTS}), '', '',
        {{reference}}
    FROM {{series}}
    """,  # noqa: S608
    f"""
    INSERT INTO closures (request_id, kind, user_id, clear_history, reason, created_at)
    SELECT {{request_id}}, 'CLOSE_SESSION', 'player-' || (n % {ACCOUNTS}), '0', '', {_TIME}
    FROM {{series}} WHERE n % {RESULTS_A_CLOSE} = 0
    """,  # noqa: S608
    f"""
    INSERT INTO targets (request_id, number, provider, session_id, game_id, attempts, outcome, answer_code,
        answer_description, answer_http_status, end_time)
    SELECT {{request_id}}, 1, '{PROVIDER}', '', '', 1, 'CLOSED', '0', 'Success', 200, {_TIME}
    FROM {{series}} WHERE n % {RESULTS_A_CLOSE} = 0
    """,  # noqa: S608
)

_SQLITE = {
    "series": "(WITH RECURSIVE s(n) AS (SELECT {low} UNION ALL SELECT n + 1 FROM s WHERE n < {high} - 1) "
    "SELECT n FROM s)",
    "id": "printf('018f%028x', n)",
    "reference": "printf('%011x-%08x', {key}, n)",
    "request_id": "printf('%08x-%04x-4000-8000-%012x', {key} >> 12, {key} & 4095, n)",
}

_POSTGRES = {
    "series": "generate_series({low}::bigint, {high}::bigint - 1) AS n",
    "id": "'018f' || lpad(to_hex(n), 28, '0')",
    "reference": "lpad(to_hex({key}), 11, '0') || '-' || lpad(to_hex(n), 8, '0')",
    "request_id": "lpad(to_hex({key} >> 12), 8, '0') || '-' || lpad(to_hex({key} & 4095), 4, '0') "
    "|| '-4000-8000-' || lpad(to_hex(n), 12, '0')",
}

_BY_USER = ("transactions_of_user", "events_of_user")
"""PostgreSQL's indexes into which the rows would go in random order."""


@dataclass(frozen=True)
class Part:
    """The Results from number `low` up to `high`, stored together."""

    low: int
    high: int

    def key(self, number: int) -> int:
        """Its key: a part is spread over all keys."""
        return (number - self.low) * (_KEYS // (self.high - self.low))

    def reference(self, number: int) -> str:
        """Of a Result in this part."""
        return f"{self.key(number):011x}-{number:08x}"

    def request_id(self, number: int) -> str:
        """Of a close in this part; the number is a multiple of RESULTS_A_CLOSE."""
        key = self.key(number)
        return f"{key >> 12:08x}-{key & 4095:04x}-4000-8000-{number:012x}"

    def sql(self, statement: str, dialect: dict[str, str], newest: int) -> str:
        """A statement of one dialect that stores this part; `newest` is the position of the newest event."""
        key = f"((n - {self.low}) * {_KEYS // (self.high - self.low)})"
        parts = {name: text.format(low=self.low, high=self.high, key=key) for name, text in dialect.items()}
        return statement.format(newest=newest - self.low + 1, **parts)


def fill_sqlite(url: str, part: Part) -> None:
    """Store a part in a database that no gateway has open; the first part brings the accounts."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
        # Nothing here must survive a crash, and a log would be as large as the rows.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN")
        if part.low == 0:
            db.execute(Part(0, ACCOUNTS).sql(_ACCOUNT, _SQLITE, 0))
        (newest,) = db.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        for statement in _STATEMENTS:
            db.execute(part.sql(statement, _SQLITE, newest))
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")


async def fill_postgres(url: str, part: Part) -> None:
    """Store a part in a database with a gateway's tables; the first part brings the accounts."""
    db = await asyncpg.connect(url)
    try:
        if part.low == 0:
            await db.execute(Part(0, ACCOUNTS).sql(_ACCOUNT, _POSTGRES, 0))
        newest = await db.fetchval("SELECT coalesce(max(position), 0) FROM events")
        # No foreign keys are checked, and each index is built at once.
        await db.execute("SET session_replication_role = replica; SET maintenance_work_mem = '512MB'")
        indexes = await db.fetch("SELECT indexdef FROM pg_indexes WHERE indexname = ANY($1)", _BY_USER)
        await db.execute(f"DROP INDEX {', '.join(_BY_USER)}")
        for statement in _STATEMENTS:
            await db.execute(part.sql(statement, _POSTGRES, newest), timeout=1800)
        for (index,) in indexes:
            await db.execute(index, timeout=1800)
        # As the server does later: else the first calls pay for it.
        await db.execute("VACUUM ANALYZE", timeout=1800)
        await db.execute("CHECKPOINT", timeout=1800)
    finally:
        await db.close()
