"""What these tests see and hold of a store's inside."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from gateway.store.postgres import PostgresStore
from gateway.store.postgres.committer import Committer
from gateway.store.postgres.pool import Pool
from gateway.store.postgres.unit_of_work import UnitOfWork


def committer(store: PostgresStore) -> Committer:
    """What writes for the store."""
    assert store._connected is not None
    return store._connected.committer


def pool(store: PostgresStore) -> Pool:
    """What reads for the store."""
    assert store._connected is not None
    return store._connected.pool


def statements(store: PostgresStore) -> list[str]:
    """A list that grows by each statement on the connection that writes, by its first word."""
    said: list[str] = []
    db = committer(store)._db
    assert db is not None
    db.add_query_logger(lambda query: said.append(query.query.split()[0]))
    return said


@asynccontextmanager
async def held(store: PostgresStore) -> AsyncIterator[None]:
    """Hold the committer inside a transaction, so that what is queued meanwhile arrives as one batch."""
    holding, release = asyncio.Event(), asyncio.Event()

    async def hold(writing: UnitOfWork) -> None:
        holding.set()
        await release.wait()

    holder = asyncio.create_task(committer(store).run(hold))
    try:
        await holding.wait()
        yield
        await asyncio.sleep(0)  # let the tasks made inside queue their works
    finally:
        release.set()
        await holder


async def value(url: str, query: str) -> object:
    """What the database says, asked on a separate connection."""
    db = await asyncpg.connect(url)
    try:
        return await db.fetchval(query)
    finally:
        await db.close()
