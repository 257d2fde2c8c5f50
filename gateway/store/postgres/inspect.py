"""A look at a database as it is: nothing is made, and nothing is migrated."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.models import WalletKind
from gateway.store.postgres import ledger, migrations
from gateway.store.postgres.address import parse
from gateway.store.postgres.audit import find_discrepancies
from gateway.store.postgres.connection import PATIENT, READING, TROUBLES, Connection, close, connect, unavailable

T = TypeVar("T")

LOOK_S = 2.0


async def read_money_providers(url: str) -> frozenset[str]:
    """Names that references are kept of; empty before the first migration. Raises StoreUnavailable."""
    return await _read(url, ledger.money_providers)


async def read_creditors(url: str) -> frozenset[WalletKind]:
    """Who credited what is kept; nobody before the first migration. Raises StoreUnavailable."""
    return await _read(url, ledger.creditors)


async def _read(url: str, read: Callable[[Connection], Awaitable[frozenset[T]]]) -> frozenset[T]:
    address = parse(url)
    db = await connect(address, "check", READING, looks=True)
    try:
        async with asyncio.timeout(LOOK_S):
            if not await migrations.is_migrated(db):
                return frozenset()
            await migrations.refuse_newer(db, address)
            return await read(db)
    except TROUBLES as error:
        raise unavailable(address, error) from error
    finally:
        await close(db)


async def audit(url: str) -> Audit:
    """Whether the books add up. Raises StoreUnavailable where there are none that this release reads."""
    address = parse(url)
    db = await connect(address, "verify", PATIENT, looks=True)
    try:
        if not await migrations.is_migrated(db):
            raise StoreUnavailable(f"database {address}: no gateway has kept anything in it; is it the right one?")
        await migrations.refuse_newer(db, address)
        accounts, transactions = await db.fetchrow(
            "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM transactions)"
        ) or (0, 0)
        return Audit(accounts, transactions, await find_discrepancies(db))
    except TROUBLES as error:
        raise unavailable(address, error) from error
    finally:
        await close(db)
