"""Reads, on a few separate connections: their number is bounded, and every wait has a timeout."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from gateway.store import batching
from gateway.store.base import StoreUnavailable
from gateway.store.postgres.connection import (
    DRIVER_ERRORS,
    Connection,
    close,
    is_broken,
    refuse_read_only,
    translate_error,
)
from gateway.store.postgres_url import Address

T = TypeVar("T")

ACQUIRE_TIMEOUT_S = 1.0
"""Seconds that a read may wait for a connection."""

READ_TIMEOUT_S = 1.5
"""Seconds that a read may take, with connecting. Both together are less than a provider waits."""

CHECK_INTERVAL_S = 1.0
"""Seconds after which a connection is checked before a read: one to a server that became read-only reads old data."""

Read = Callable[[Connection], Awaitable[T]]
"""One caller's whole read, which may be repeated where its connection broke."""


@dataclass(slots=True)
class _Kept:
    """A connection, and when its server was last known to accept writes."""

    db: Connection
    checked_at: float


class Pool:
    """Connects when needed, and keeps connections while they work. `connect` has a timeout."""

    def __init__(self, address: Address, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._address = address
        self._connect = connect
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._waiting = 0
        self._idle: list[_Kept] = []
        self._closed = False
        self._clock = asyncio.get_running_loop().time

    async def run(self, read: Read[T]) -> T:
        """Execute one read. Raises what it raises, and StoreUnavailable."""
        async with self._permit():
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    return await self._read(read)
            except DRIVER_ERRORS as error:
                raise translate_error(self._address, error) from error

    async def close(self) -> None:
        """Wait for reads in progress, and disconnect."""
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
        for kept in self._idle:
            await close(kept.db)
        self._idle.clear()

    @asynccontextmanager
    async def _permit(self) -> AsyncIterator[None]:
        if self._waiting >= batching.MAX_QUEUED:
            raise StoreUnavailable(f"database {self._address}: {batching.MAX_QUEUED} reads wait for it already")
        self._waiting += 1
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"database {self._address}: all {self._size} connections for reads are busy; "
                "raise [store] pool_size, or check the server's load"
            ) from error
        finally:
            self._waiting -= 1
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed: nothing more is read or written")
            yield
        finally:
            self._free.release()

    async def _read(self, read: Read[T]) -> T:
        while self._idle:
            kept = self._idle.pop()
            if kept.db.is_closed():
                continue
            try:
                return await self._on(kept, read)
            except Exception as error:
                # An idle connection may have been cut off: a new one shows whether the server is there.
                if not is_broken(error):
                    raise
        return await self._on(_Kept(await self._connect(), self._clock()), read)

    async def _on(self, kept: _Kept, read: Read[T]) -> T:
        db = kept.db
        try:
            if self._clock() - kept.checked_at >= CHECK_INTERVAL_S:
                await refuse_read_only(db)
                kept.checked_at = self._clock()
            result = await read(db)
        except Exception as error:
            if is_broken(error) or db.is_closed():
                db.terminate()
            else:
                self._idle.append(kept)
            raise
        except BaseException:
            db.terminate()  # cancelled, or timed out: the server still works on the connection
            raise
        self._idle.append(kept)
        return result
