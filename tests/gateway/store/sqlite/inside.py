"""What these tests see and hold of a store's inside."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.thread import ConnectionThread


def writer(store: SqliteStore) -> ConnectionThread:
    """The thread that writes for the store."""
    assert store._connected is not None
    return store._connected.writer


def reader(store: SqliteStore) -> ConnectionThread:
    """The thread that reads for the store."""
    assert store._connected is not None
    return store._connected.reader


async def statements(store: SqliteStore) -> list[str]:
    """A list that grows by each statement on the connection that writes."""
    said: list[str] = []
    await writer(store).run(lambda db: db.set_trace_callback(said.append))
    return said


@asynccontextmanager
async def held(store: SqliteStore) -> AsyncIterator[None]:
    """Hold the writer inside a transaction, so that what is queued meanwhile arrives as one batch."""
    holding, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(db: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(holding.set)
        assert release.wait(120)

    holder = asyncio.create_task(writer(store).run(hold))
    try:
        await holding.wait()
        yield
        await asyncio.sleep(0)  # let the tasks made inside queue their operations
    finally:
        release.set()
        await holder
