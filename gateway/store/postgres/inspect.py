"""Reads a database as it is: nothing is created, and nothing is migrated."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.postgres import fitness, ledger, migrations
from gateway.store.postgres.audit import find_discrepancies
from gateway.store.postgres.connection import DRIVER_ERRORS, READING, UNBOUNDED, Connection, close, connect, unavailable
from gateway.store.postgres_url import Address

T = TypeVar("T")

CHECK_TIMEOUT_S = 2.0


async def refuse_unfit(address: Address) -> None:
    """Raise StoreUnavailable where a gateway's role lacks a right, or a table is missing."""

    async def nothing(_: Connection) -> frozenset[str]:
        return frozenset()

    await _read(address, nothing)


async def read_money_providers(address: Address) -> frozenset[str]:
    """Providers that have references; empty before the first migration.

    Raises StoreUnavailable, also where a gateway could not start on the database.
    """
    return await _read(address, ledger.money_providers)


async def read_wallet_kinds(address: Address) -> frozenset[WalletKind]:
    """The wallets that credited what is stored; none before the first migration. Raises StoreUnavailable."""
    return await _read(address, ledger.wallet_kinds)


async def _read(address: Address, read: Callable[[Connection], Awaitable[frozenset[T]]]) -> frozenset[T]:
    db = await connect(address, "check", READING, read_only=True)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await fitness.refuse_encoding(db, address)
            if not await migrations.is_migrated(db):
                await fitness.refuse_without_schema(db, address)
                return frozenset()
            await migrations.refuse_newer(db, address)
            await fitness.refuse_without_rights(db, address, is_current=await migrations.is_current(db))
            return await read(db)
    except DRIVER_ERRORS as error:
        raise unavailable(address, error) from error
    finally:
        await close(db)


async def audit(address: Address) -> Audit:
    """An audit of the books. Raises StoreUnavailable where there are none that this release can read."""
    db = await connect(address, "verify", UNBOUNDED, read_only=True)
    try:
        if not await migrations.is_migrated(db):
            raise StoreUnavailable(f"database {address}: no gateway has written to it; is it the right one?")
        await migrations.refuse_newer(db, address)
        accounts, transactions = await db.fetchrow(
            "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM transactions)"
        ) or (0, 0)
        return Audit(accounts, transactions, await find_discrepancies(db))
    except DRIVER_ERRORS as error:
        raise unavailable(address, error) from error
    finally:
        await close(db)
