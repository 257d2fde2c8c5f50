"""Numbered migrations: applied in order, in one transaction, by one gateway while the others wait."""

from collections.abc import Sequence

from gateway.store.base import StoreUnavailable
from gateway.store.migration_files import Migration, migrations
from gateway.store.postgres.address import Address
from gateway.store.postgres.connection import Connection

_LOCK = 0x5E5510_6A7E
"""The advisory lock of schema changes: any number that nothing else uses in this database."""

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    -- A release that does not know this version must not start.
    breaks     boolean NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate(db: Connection, address: Address, steps: Sequence[Migration] | None = None) -> None:
    """Bring the schema to this release's; `steps` are this release's by default.

    Raises StoreUnavailable where a newer release made the schema such that this one cannot work on it.
    """
    steps = migrations("postgres") if steps is None else steps
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await db.execute(_TABLE)
        await refuse_newer(db, address, steps)
        applied = {row["version"] for row in await db.fetch("SELECT version FROM schema_migrations")}
        for step in steps:
            if step.version not in applied:
                await db.execute(step.sql)
                await db.execute(
                    "INSERT INTO schema_migrations (version, breaks) VALUES ($1, $2)", step.version, step.breaks
                )


async def refuse_newer(db: Connection, address: Address, steps: Sequence[Migration] | None = None) -> None:
    """Raise StoreUnavailable where a newer release made the schema such that this one cannot work on it."""
    steps = migrations("postgres") if steps is None else steps
    newest = await db.fetchval("SELECT max(version) FROM schema_migrations WHERE breaks")
    if newest is not None and newest > len(steps):
        raise StoreUnavailable(
            f"database {address}: its schema is version {newest} and this release knows versions up to {len(steps)}; "
            "start the newer release that made it, or restore the backup from before the upgrade"
        )


async def is_migrated(db: Connection) -> bool:
    """Whether any gateway has opened this database."""
    return await db.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL") is True
