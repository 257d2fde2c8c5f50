"""A thread that owns one connection, and executes what the event loop queues for it.

A queued operation is executed, whether or not its caller still waits: a cancelled caller loses only the result.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from gateway.store import batching
from gateway.store.base import StoreUnavailable
from gateway.store.batching import Done, Outcome, Raised

P = ParamSpec("P")
T = TypeVar("T")

Operation = Callable[[sqlite3.Connection], T]
"""A plain function over the connection: one caller's whole read or write."""

RunBatch = Callable[[sqlite3.Connection, Sequence[Operation[Any]]], Sequence[Outcome[Any]]]
"""Executes a batch: one outcome for each operation, in their order."""


class _Queued(msgspec.Struct, Generic[T], frozen=True):
    operation: Operation[T]
    result: asyncio.Future[Outcome[T]]


def call_on_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Call a function on the loop, from any thread. Does nothing where the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: function(*args, **kwargs))


class ConnectionThread:
    """Made on the event loop that will use it. `start` it once, `run` operations on it, `close` it."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], run_batch: RunBatch) -> None:
        self._connect = connect
        self._run_batch = run_batch
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Queued[Any] | None] = SimpleQueue()
        self._started: asyncio.Future[Outcome[None]] = self._loop.create_future()
        self._ended: asyncio.Future[Outcome[None]] = self._loop.create_future()
        self._closing = False
        # A daemon: a process that ends without `close` has acknowledged nothing that is still queued.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    async def start(self) -> None:
        """Connect. Raises what `connect` raises."""
        self._thread.start()
        try:
            _unwrap(await asyncio.shield(self._started))
        except BaseException:
            self._stop()
            raise

    async def run(self, operation: Operation[T]) -> T:
        """Execute one operation and return its result. Raises what it raises, and StoreUnavailable."""
        if self._closing:
            raise StoreUnavailable("the store is closed: nothing more is read or written")
        if self._queue.qsize() >= batching.MAX_QUEUED:
            raise StoreUnavailable(
                f"{batching.MAX_QUEUED} operations wait for the database already: its disk is too slow"
            )
        result: asyncio.Future[Outcome[T]] = self._loop.create_future()
        self._queue.put(_Queued(operation, result))
        return _unwrap(await result)

    async def close(self) -> None:
        """Finish what is queued, then disconnect."""
        self._stop()
        await asyncio.shield(self._ended)

    def _stop(self) -> None:
        if not self._closing:
            self._closing = True
            self._queue.put(None)

    # --- On the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            db = self._connect()
        except BaseException as error:  # noqa: BLE001 - raised by `start`, on the loop
            call_on_loop(self._loop, _settle, self._started, Raised(error))
        else:
            call_on_loop(self._loop, _settle, self._started, Done(None))
            with closing(db):
                while batch := self._next_batch():
                    call_on_loop(self._loop, _settle_all, batch, self._outcomes(db, batch))
        call_on_loop(self._loop, _settle, self._ended, Done(None))

    def _next_batch(self) -> list[_Queued[Any]]:
        batch: list[_Queued[Any]] = []
        queued = self._queue.get()
        while queued is not None:
            batch.append(queued)
            if len(batch) == batching.MAX_BATCH_SIZE:
                return batch
            try:
                queued = self._queue.get_nowait()
            except Empty:
                return batch
        if batch:
            self._queue.put(None)  # the mark of the end, for the next round
        return batch

    def _outcomes(self, db: sqlite3.Connection, batch: Sequence[_Queued[Any]]) -> Sequence[Outcome[Any]]:
        try:
            return self._run_batch(db, [queued.operation for queued in batch])
        except BaseException as error:  # noqa: BLE001 - the thread survives a bug, which every caller gets
            return [Raised(error)] * len(batch)


def _unwrap(outcome: Outcome[T]) -> T:
    if isinstance(outcome, Raised):
        raise outcome.error
    return outcome.value


def _settle(result: asyncio.Future[Outcome[T]], outcome: Outcome[T]) -> None:
    if not result.done():  # else its caller was cancelled
        result.set_result(outcome)


def _settle_all(batch: Sequence[_Queued[Any]], outcomes: Sequence[Outcome[Any]]) -> None:
    for queued, outcome in zip(batch, outcomes, strict=True):
        _settle(queued.result, outcome)
