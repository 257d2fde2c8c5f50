"""Reads, on a few connections of their own: bounded in number, and in how long anybody waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.store.base import StoreUnavailable
from gateway.store.postgres.address import Address
from gateway.store.postgres.connection import TROUBLES, Connection, close, is_broken, translate_error

T = TypeVar("T")

WAIT_S = 1.0
"""Seconds that a read waits for a connection to be free."""

READ_S = 1.5
"""Seconds that a read may take, connecting included. Together: less than a provider waits."""

MOST_WAITING = 10_000
"""Reads that wait for a connection: beyond it a stuck server would only fill the memory."""

Read = Callable[[Connection], Awaitable[T]]
"""One caller's whole read, which may be carried out again where its connection broke."""


class Pool:
    """Connections are made when they are needed, and kept while they work. `connect` is bounded in time."""

    def __init__(self, address: Address, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._address = address
        self._connect = connect
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._waiting = 0
        self._idle: list[Connection] = []
        self._closed = False

    async def run(self, read: Read[T]) -> T:
        """Carry one read out. Raises what it raises, and StoreUnavailable."""
        async with self._place():
            try:
                async with asyncio.timeout(READ_S):
                    return await self._read(read)
            except TROUBLES as error:
                raise translate_error(self._address, error) from error

    async def close(self) -> None:
        """Let what is under way end, and disconnect."""
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
        for db in self._idle:
            await close(db)
        self._idle.clear()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise StoreUnavailable(f"database {self._address}: {MOST_WAITING} reads wait for it already")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"database {self._address}: all {self._size} connections for reads are busy; "
                "raise [store] pool_size, or look at the server's load"
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
            db = self._idle.pop()
            if db.is_closed():
                continue
            try:
                return await self._on(db, read)
            except Exception as error:
                # It rested, and may have been cut off since: a fresh one shows whether the server is there.
                if not is_broken(error):
                    raise
        return await self._on(await self._connect(), read)

    async def _on(self, db: Connection, read: Read[T]) -> T:
        try:
            answer = await read(db)
        except Exception as error:
            if is_broken(error) or db.is_closed():
                db.terminate()
            else:
                self._idle.append(db)
            raise
        except BaseException:
            db.terminate()  # whoever left, or lost patience, leaves a connection behind that still works for him
            raise
        self._idle.append(db)
        return answer
