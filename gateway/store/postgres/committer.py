"""Group commit: what arrived while a commit was under way is committed together, and answered after the commit.

One wait for the server's disk serves the whole batch. Where a batch cannot stand because of one of its works, it is
halved until that one is alone: its neighbours stand. What is queued is carried out, whether or not its caller still
waits; but nobody waits for a server that hangs, neither in the queue nor behind it.

A batch is carried out in the order of what its operations lock, so that batches of several gateways that write the same
rows wait for each other, and never in a circle.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg
import msgspec

from gateway.store.base import RecordsT, StoreUnavailable
from gateway.store.postgres.address import Address
from gateway.store.postgres.connection import (
    TROUBLES,
    Connection,
    close,
    is_broken,
    is_contention,
    is_outage,
    translate_error,
    unavailable,
)
from gateway.store.postgres.postings import Overtaken, account_of, held_by_others
from gateway.store.postgres.transaction import Outcome, Raised, Work, transact
from gateway.store.postgres.unit_of_work import Operation, Order, UnitOfWork
from gateway.store.posting import PostingRequest
from gateway.telemetry.tracing import in_span

if TYPE_CHECKING:  # a store that nobody counts does without
    from gateway.telemetry.metrics import Metrics

T = TypeVar("T")

ENGINE = "postgresql"
"""In the metrics."""

_COMMIT = {"db.system.name": ENGINE, "db.operation.name": "COMMIT"}
"""On the span of a write: the wait for its turn, and for its commit."""

MOST_AT_ONCE = 500
"""Works in one batch: bounds how long the first of them waits for the last."""

MOST_WAITING = 10_000
"""Works in the queue: beyond it a stuck server would only fill the memory."""

WAIT_S = 1.0
"""Seconds that a work waits in the queue at the most."""

BATCH_S = 1.5
"""Seconds that a batch may take, connecting and trying again included. Together: less than a provider waits."""

TRIES = 5
"""Times that a batch is tried whose only trouble is that other gateways were in its way."""

JITTER_S = 0.02

ROLLBACK_S = 0.3


class _Queued(msgspec.Struct, frozen=True):
    work: Work
    order: Order
    answer: asyncio.Future[Any]
    since: float


class Committer:
    """Writes for one process, on one connection. Made on the event loop that will use it; started and closed once.

    `written` is called after each commit that kept events; `metrics` are told of each commit.
    """

    def __init__(
        self,
        address: Address,
        connect: Callable[[], Awaitable[Connection]],
        written: Callable[[], None],
        metrics: "Metrics | None" = None,
    ) -> None:
        self._address = address
        self._connect = connect
        self._written = written
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Queued] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._db: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Raises StoreUnavailable."""
        self._db = await self._connect()
        self._task = self._loop.create_task(self._serve(), name="store-committer")

    async def post(self, request: PostingRequest[RecordsT]) -> RecordsT:
        """Post one Result, and return its records. Raises what its `records_of` raises, and StoreUnavailable."""
        return cast("RecordsT", await in_span("store commit", self._put(request), _COMMIT))

    async def run(self, operation: Operation[T], order: Order = ()) -> T:
        """Carry one operation out and answer what it returns. Raises what it raises, and StoreUnavailable."""
        return cast("T", await in_span("store commit", self._put(operation, order), _COMMIT))

    async def close(self) -> None:
        """Finish what is queued, then disconnect."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._db is not None:
            await close(self._db)

    def _put(self, work: Work, order: Order = ()) -> asyncio.Future[Any]:
        if self._closing:
            raise StoreUnavailable("the store is closed: nothing more is read or written")
        if len(self._queue) >= MOST_WAITING:
            raise StoreUnavailable(
                f"database {self._address}: {MOST_WAITING} writes wait for it already; look at its disk and its load"
            )
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append(_Queued(work, order, answer, self._loop.time()))
        self._arrived.set()
        return answer

    # --- The one task that writes -------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while self._queue or not self._closing:
            if batch := self._next_batch():
                await self._carry_out(batch, self._loop.time() + BATCH_S)
            elif not self._queue and not self._closing:
                self._arrived.clear()
                await self._arrived.wait()

    def _next_batch(self) -> list[_Queued]:
        oldest = self._loop.time() - WAIT_S
        batch: list[_Queued] = []
        while self._queue and len(batch) < MOST_AT_ONCE:
            queued = self._queue.popleft()
            if queued.since >= oldest:
                batch.append(queued)
            else:
                _raise_at(queued, self._too_slow())
        return sorted(batch, key=attrgetter("order"))

    def _too_slow(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"database {self._address}: writes wait longer than {WAIT_S} s; look at its disk and its load"
        )

    async def _carry_out(self, batch: Sequence[_Queued], deadline: float) -> None:
        try:
            outcomes = await self._committed([queued.work for queued in batch], deadline)
        except StoreUnavailable as error:
            for queued in batch:
                _raise_at(queued, StoreUnavailable(str(error), unchanged=error.unchanged), error)
        except asyncpg.LockNotAvailableError as error:
            await self._skip_locked_accounts(batch, deadline, error)
        except Exception as error:  # noqa: BLE001 - raised where its caller waits, once it is known whose it is
            if len(batch) == 1:
                _raise_at(batch[0], translate_error(self._address, error), error)
                return
            middle = len(batch) // 2
            await self._carry_out(batch[:middle], deadline)
            await self._carry_out(batch[middle:], deadline)
        else:
            for queued, outcome in zip(batch, outcomes, strict=True):
                _settle(queued, outcome)

    async def _skip_locked_accounts(self, batch: Sequence[_Queued], deadline: float, error: Exception) -> None:
        """Turn away postings to accounts that another session holds, and carry their neighbours out."""
        try:
            async with asyncio.timeout_at(deadline):
                postings = [queued.work for queued in batch if isinstance(queued.work, PostingRequest)]
                held = await held_by_others(await self._connection(), postings) if postings else frozenset()
        except (*TROUBLES, StoreUnavailable) as trouble:
            await self._clear(trouble)
            for queued in batch:
                _raise_at(queued, unavailable(self._address, trouble), trouble)
            return
        free: list[_Queued] = []
        for queued in batch:
            if isinstance(queued.work, PostingRequest) and account_of(queued.work.posting) in held:
                _raise_at(queued, unavailable(self._address, error), error)
            else:
                free.append(queued)
        # Where it is no account, it may be a gateway that waits for this one: smaller batches get past it.
        if not held:
            await asyncio.sleep(random.uniform(0, JITTER_S))  # noqa: S311 - nobody gains by guessing it
        middle = len(free) if held else (len(free) + 1) // 2
        for part in (free[:middle], free[middle:]):
            if part:
                await self._carry_out(part, deadline)

    async def _committed(self, works: Sequence[Work], deadline: float) -> list[Outcome]:
        """Commit, however often another gateway is in the way.

        Raises StoreUnavailable, and where one of the works is at fault, what it raised.
        """
        for tried in range(1, TRIES + 1):
            rested = self._db
            try:
                return await self._attempt(works, deadline)
            except (*TROUBLES, Overtaken) as error:
                # A connection that rested may have been cut off: only a fresh one shows whether the server is there.
                cut_off = rested is not None and is_broken(error) and not isinstance(error, TimeoutError)
                if not (cut_off or is_contention(error) or isinstance(error, Overtaken)):
                    if is_outage(error) and not isinstance(error, asyncpg.LockNotAvailableError):
                        raise unavailable(self._address, error) from error
                    raise
            await asyncio.sleep(random.uniform(0, JITTER_S * tried))  # noqa: S311 - nobody gains by guessing it
        raise StoreUnavailable(f"database {self._address}: other gateways were in the way {TRIES} times; try again")

    async def _attempt(self, works: Sequence[Work], deadline: float) -> list[Outcome]:
        writing: UnitOfWork | None = None
        begun = self._loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                writing = UnitOfWork(await self._connection())
                outcomes = await transact(writing, works)
        except BaseException as error:
            await self._clear(error)
            if self._metrics is not None:
                self._metrics.commit_failed(ENGINE)
            if writing is not None and writing.in_doubt and isinstance(error, Exception):
                raise unavailable(self._address, error, unchanged=False) from error
            raise
        if self._metrics is not None:
            self._metrics.commit(ENGINE, len(works), self._loop.time() - begun)
        if writing.events:
            self._written()
        return outcomes

    async def _connection(self) -> Connection:
        if self._db is None or self._db.is_closed():
            self._db = await self._connect()
        return self._db

    async def _clear(self, error: BaseException) -> None:
        """Leave the connection fit for the next transaction, or leave none."""
        if self._db is None:
            return
        if isinstance(error, Exception) and not is_broken(error):
            with suppress(*TROUBLES):
                async with asyncio.timeout(ROLLBACK_S):
                    await self._db.execute("ROLLBACK")
                return
        self._db.terminate()
        self._db = None


def _settle(queued: _Queued, outcome: Outcome) -> None:
    if isinstance(outcome, Raised):
        _raise_at(queued, outcome.error)
    elif not queued.answer.done():  # else its caller was cancelled
        queued.answer.set_result(outcome.value)


def _raise_at(queued: _Queued, error: Exception, cause: BaseException | None = None) -> None:
    if not queued.answer.done():
        if cause is not None and cause is not error:
            error.__cause__ = cause
        queued.answer.set_exception(error)
