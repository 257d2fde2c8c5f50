"""Reads a database as it is: nothing is created, and nothing is migrated."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.postgres import ledger, migrations
from gateway.store.postgres.audit import find_discrepancies
from gateway.store.postgres.connection import DRIVER_ERRORS, READING, UNBOUNDED, Connection, close, connect, unavailable
from gateway.store.postgres_url import Address

T = TypeVar("T")

CHECK_TIMEOUT_S = 2.0


async def read_money_providers(address: Address) -> frozenset[str]:
    """Providers that have references; empty before the first migration. Raises StoreUnavailable."""
    return await _read(address, ledger.money_providers)


async def read_wallet_kinds(address: Address) -> frozenset[WalletKind]:
    """The wallets that credited what is stored; none before the first migration. Raises StoreUnavailable."""
    return await _read(address, ledger.wallet_kinds)


async def _read(address: Address, read: Callable[[Connection], Awaitable[frozenset[T]]]) -> frozenset[T]:
    db = await connect(address, "check", READING, read_only=True)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            if not await migrations.is_migrated(db):
                return frozenset()
            await migrations.refuse_newer(db, address)
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
