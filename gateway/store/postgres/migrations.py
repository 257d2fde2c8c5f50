"""Numbered migrations: applied in order, in one transaction, by one gateway while the others wait."""

import asyncio
from collections.abc import Sequence

import asyncpg

from gateway.store.base import StoreUnavailable
from gateway.store.migration_files import Migration, SchemaVersions, migrations
from gateway.store.postgres.connection import DRIVER_ERRORS, UNBOUNDED, Connection, close, connect, unavailable
from gateway.store.postgres.fitness import refuse_encoding
from gateway.store.postgres_url import Address

_LOCK = 0x5E5510_6A7E
"""The advisory lock of schema changes: any number that nothing else uses in this database."""

MIGRATION_TIMEOUT_S = 3600.0
"""Seconds that a migration, or the wait for another gateway's, may take."""

_TABLE = """
CREATE TABLE schema_migrations (
    version    integer PRIMARY KEY,
    -- A release that does not know this version must not start.
    breaks     boolean NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate_database(address: Address) -> SchemaVersions:
    """Connect, and bring the schema to this release's. Raises StoreUnavailable."""
    db = await connect(address, "migrations", UNBOUNDED)
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            await refuse_encoding(db, address)
            return await migrate(db, address)
    except DRIVER_ERRORS as error:
        raise unavailable(address, error) from error
    finally:
        await close(db)


async def migrate(db: Connection, address: Address, steps: Sequence[Migration] | None = None) -> SchemaVersions:
    """Bring the schema to this release's; `steps` are this release's by default.

    A role that may only read the table of versions is enough where the schema is current. Raises StoreUnavailable where
    the role may not change one that is not, and where a newer release made it such that this one cannot work on it.
    """
    steps = migrations("postgres") if steps is None else steps
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        applied = await _applied(db)
        before = max(applied, default=0)
        missing = [step for step in steps if step.version not in applied]
        if applied:
            await refuse_newer(db, address, steps)
        try:
            await _apply(db, missing, first=not applied)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
            raise StoreUnavailable(
                f"database {address}: its schema is version {before}, this release needs version {len(steps)}, and the "
                "role may not change it: run `session-gateway migrate` with the owner's role, then start again "
                f"(PostgreSQL says: {error})"
            ) from error
    return SchemaVersions(before, max(before, len(steps)))


async def _apply(db: Connection, steps: Sequence[Migration], *, first: bool) -> None:
    if first and not await is_migrated(db):
        await db.execute(_TABLE)
    for step in steps:
        await db.execute(step.sql)
        await db.execute("INSERT INTO schema_migrations (version, breaks) VALUES ($1, $2)", step.version, step.breaks)


async def _applied(db: Connection) -> frozenset[int]:
    if not await is_migrated(db):
        return frozenset()
    return frozenset(row["version"] for row in await db.fetch("SELECT version FROM schema_migrations"))


async def refuse_newer(db: Connection, address: Address, steps: Sequence[Migration] | None = None) -> None:
    """Raise StoreUnavailable where a newer release made the schema such that this one cannot work on it."""
    steps = migrations("postgres") if steps is None else steps
    newest = await db.fetchval("SELECT max(version) FROM schema_migrations WHERE breaks")
    if newest is not None and newest > len(steps):
        raise StoreUnavailable(
            f"database {address}: its schema is version {newest} and this release knows versions up to {len(steps)}; "
            "start the newer release that made it, or restore the backup from before the upgrade"
        )


async def is_current(db: Connection) -> bool:
    """Whether a migrated database has every step of this release."""
    return bool(await db.fetchval("SELECT max(version) FROM schema_migrations") >= len(migrations("postgres")))


async def is_migrated(db: Connection) -> bool:
    """Whether any gateway has opened this database."""
    return await db.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL") is True
