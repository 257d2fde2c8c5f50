"""A thread that owns one connection, and carries out what the event loop queues for it.

What is queued is carried out, whether or not its caller still waits: a cancelled caller loses only the answer.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from gateway.store.base import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

Operation = Callable[[sqlite3.Connection], T]
"""A plain function over the connection: one caller's whole read or write."""

MOST_AT_ONCE = 500
"""Operations in one batch: bounds how long the first of them waits for the last."""

MOST_WAITING = 10_000
"""Operations in the queue: beyond it a stuck disk would only fill the memory."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """An operation returned."""

    value: T


class Raised(msgspec.Struct, frozen=True):
    """An operation raised, or what it did could not be kept."""

    error: BaseException


Outcome = Done[T] | Raised

CarryOut = Callable[[sqlite3.Connection, Sequence[Operation[Any]]], Sequence[Outcome[Any]]]
"""Carries a batch out: one outcome for each operation, in their order."""


class _Queued(msgspec.Struct, Generic[T], frozen=True):
    operation: Operation[T]
    answer: asyncio.Future[Outcome[T]]


def call_on_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Have the loop call a function, from any thread. A loop that is closed has nobody left to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: function(*args, **kwargs))


class ConnectionThread:
    """Made on the event loop that will use it. `start` it once, `run` operations on it, `close` it."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], carry_out: CarryOut) -> None:
        self._connect = connect
        self._carry_out = carry_out
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
        """Carry one operation out and answer what it returns. Raises what it raises, and StoreUnavailable."""
        if self._closing:
            raise StoreUnavailable("the store is closed: nothing more is read or written")
        if self._queue.qsize() >= MOST_WAITING:
            raise StoreUnavailable(f"{MOST_WAITING} operations wait for the database already: its disk is too slow")
        answer: asyncio.Future[Outcome[T]] = self._loop.create_future()
        self._queue.put(_Queued(operation, answer))
        return _unwrap(await answer)

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
            if len(batch) == MOST_AT_ONCE:
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
            return self._carry_out(db, [queued.operation for queued in batch])
        except BaseException as error:  # noqa: BLE001 - the thread outlives a bug, and every caller learns of it
            return [Raised(error)] * len(batch)


def _unwrap(outcome: Outcome[T]) -> T:
    if isinstance(outcome, Raised):
        raise outcome.error
    return outcome.value


def _settle(answer: asyncio.Future[Outcome[T]], outcome: Outcome[T]) -> None:
    if not answer.done():  # else its caller was cancelled
        answer.set_result(outcome)


def _settle_all(batch: Sequence[_Queued[Any]], outcomes: Sequence[Outcome[Any]]) -> None:
    for queued, outcome in zip(batch, outcomes, strict=True):
        _settle(queued.answer, outcome)
