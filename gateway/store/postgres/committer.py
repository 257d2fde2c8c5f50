"""Group commit: writes that arrive during a commit are committed together, and return after the commit.

One wait for the server's disk serves the whole batch. Where a batch fails because of one of its requests, it is halved
until that one is alone: the others are committed. A queued request is executed, whether or not its caller still waits;
but every wait for a server that hangs has a timeout, also in the queue.

A batch is executed in the order of what its requests lock, so that batches of several gateways that write the same rows
wait for each other, and never deadlock.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, TypeVar, cast

import asyncpg
import msgspec

from gateway.store import batching
from gateway.store.base import RecordsT, StoreUnavailable
from gateway.store.batching import CommitMetrics, Outcome, Raised
from gateway.store.postgres.connection import (
    DRIVER_ERRORS,
    Connection,
    close,
    is_broken,
    is_contention,
    is_outage,
    translate_error,
    unavailable,
)
from gateway.store.postgres.postings import Overtaken, account_of, locked_by_others
from gateway.store.postgres.transaction import Request, transact
from gateway.store.postgres.unit_of_work import Operation, Order, UnitOfWork
from gateway.store.postgres_url import Address
from gateway.store.posting import PostingRequest
from gateway.telemetry.tracing import in_span

T = TypeVar("T")

ENGINE = "postgresql"
"""In the metrics."""

_COMMIT = {"db.system.name": ENGINE, "db.operation.name": "COMMIT"}
"""On the span of a write, which includes the wait in the queue."""

QUEUE_TIMEOUT_S = 1.0
"""Seconds that a request may wait in the queue."""

BATCH_TIMEOUT_S = 1.5
"""Seconds that a batch may take, with connecting and retries. Both together are less than a provider waits."""

MAX_ATTEMPTS = 5
"""Attempts at a batch that only failed because of other gateways' transactions."""

MAX_JITTER_S = 0.02

ROLLBACK_TIMEOUT_S = 0.3


class _Queued(msgspec.Struct, frozen=True):
    request: Request
    order: Order
    result: asyncio.Future[Any]
    since: float


class Committer:
    """Writes for one process, on one connection. Created on the event loop that uses it; started and closed once.

    It calls `on_events` after each commit that added events, and `metrics` after each.
    """

    def __init__(
        self,
        address: Address,
        connect: Callable[[], Awaitable[Connection]],
        on_events: Callable[[], None],
        metrics: CommitMetrics | None = None,
    ) -> None:
        self._address = address
        self._connect = connect
        self._on_events = on_events
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
        """Execute one operation and return its result. Raises what it raises, and StoreUnavailable."""
        return cast("T", await in_span("store commit", self._put(operation, order), _COMMIT))

    async def close(self) -> None:
        """Finish what is queued, then disconnect."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._db is not None:
            await close(self._db)

    def _put(self, request: Request, order: Order = ()) -> asyncio.Future[Any]:
        if self._closing:
            raise StoreUnavailable("the store is closed: nothing more is read or written")
        if len(self._queue) >= batching.MAX_QUEUED:
            raise StoreUnavailable(
                f"database {self._address}: {batching.MAX_QUEUED} writes wait for it already; "
                "check its disk and its load"
            )
        result: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append(_Queued(request, order, result, self._loop.time()))
        self._arrived.set()
        return result

    # --- The one task that writes -------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while self._queue or not self._closing:
            if batch := self._next_batch():
                await self._execute(batch, self._loop.time() + BATCH_TIMEOUT_S)
            elif not self._queue and not self._closing:
                self._arrived.clear()
                await self._arrived.wait()

    def _next_batch(self) -> list[_Queued]:
        oldest = self._loop.time() - QUEUE_TIMEOUT_S
        batch: list[_Queued] = []
        while self._queue and len(batch) < batching.MAX_BATCH_SIZE:
            queued = self._queue.popleft()
            if queued.since >= oldest:
                batch.append(queued)
            else:
                _raise_at(queued, self._too_slow())
        return sorted(batch, key=attrgetter("order"))

    def _too_slow(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"database {self._address}: writes wait longer than {QUEUE_TIMEOUT_S} s; check its disk and its load"
        )

    async def _execute(self, batch: Sequence[_Queued], deadline: float) -> None:
        try:
            outcomes = await self._commit([queued.request for queued in batch], deadline)
        except StoreUnavailable as error:
            for queued in batch:
                _raise_at(queued, StoreUnavailable(str(error), unchanged=error.unchanged), error)
        except asyncpg.LockNotAvailableError as error:
            await self._skip_locked_accounts(batch, deadline, error)
        except Exception as error:  # noqa: BLE001 - raised at the caller of the request that is at fault
            if len(batch) == 1:
                _raise_at(batch[0], translate_error(self._address, error), error)
                return
            middle = len(batch) // 2
            await self._execute(batch[:middle], deadline)
            await self._execute(batch[middle:], deadline)
        else:
            for queued, outcome in zip(batch, outcomes, strict=True):
                _settle(queued, outcome)

    async def _skip_locked_accounts(self, batch: Sequence[_Queued], deadline: float, error: Exception) -> None:
        """Reject postings to accounts that another session has locked, and execute the others."""
        try:
            async with asyncio.timeout_at(deadline):
                postings = [queued.request for queued in batch if isinstance(queued.request, PostingRequest)]
                locked = await locked_by_others(await self._connection(), postings) if postings else frozenset()
        except (*DRIVER_ERRORS, StoreUnavailable) as failure:
            await self._reset(failure)
            for queued in batch:
                _raise_at(queued, unavailable(self._address, failure), failure)
            return
        others: list[_Queued] = []
        for queued in batch:
            if isinstance(queued.request, PostingRequest) and account_of(queued.request.posting) in locked:
                _raise_at(queued, unavailable(self._address, error), error)
            else:
                others.append(queued)
        # Where no account is locked, another gateway may wait for this one: smaller batches avoid that.
        if not locked:
            await asyncio.sleep(random.uniform(0, MAX_JITTER_S))  # noqa: S311 - no secret
        middle = len(others) if locked else (len(others) + 1) // 2
        for part in (others[:middle], others[middle:]):
            if part:
                await self._execute(part, deadline)

    async def _commit(self, requests: Sequence[Request], deadline: float) -> list[Outcome[Any]]:
        """Commit, with retries where another gateway's transaction is in the way.

        Raises StoreUnavailable, and where one of the requests is at fault, what it raised.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            idle = self._db
            try:
                return await self._attempt(requests, deadline)
            except (*DRIVER_ERRORS, Overtaken) as error:
                # An idle connection may have been cut off: only a new one shows whether the server is there.
                cut_off = idle is not None and is_broken(error) and not isinstance(error, TimeoutError)
                if not (cut_off or is_contention(error) or isinstance(error, Overtaken)):
                    if is_outage(error) and not isinstance(error, asyncpg.LockNotAvailableError):
                        raise unavailable(self._address, error) from error
                    raise
            await asyncio.sleep(random.uniform(0, MAX_JITTER_S * attempt))  # noqa: S311 - no secret
        raise StoreUnavailable(
            f"database {self._address}: other gateways were in the way {MAX_ATTEMPTS} times; try again"
        )

    async def _attempt(self, requests: Sequence[Request], deadline: float) -> list[Outcome[Any]]:
        work: UnitOfWork | None = None
        started = self._loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                work = UnitOfWork(await self._connection())
                outcomes = await transact(work, requests)
        except BaseException as error:
            await self._reset(error)
            if self._metrics is not None:
                self._metrics.commit_failed(ENGINE)
            if work is not None and work.in_doubt and isinstance(error, Exception):
                raise unavailable(self._address, error, unchanged=False) from error
            raise
        if self._metrics is not None:
            self._metrics.commit(ENGINE, len(requests), self._loop.time() - started)
        if work.events:
            self._on_events()
        return outcomes

    async def _connection(self) -> Connection:
        if self._db is None or self._db.is_closed():
            self._db = await self._connect()
        return self._db

    async def _reset(self, error: BaseException) -> None:
        """Make the connection ready for the next transaction, or drop it."""
        if self._db is None:
            return
        if isinstance(error, Exception) and not is_broken(error):
            with suppress(*DRIVER_ERRORS):
                async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                    await self._db.execute("ROLLBACK")
                return
        self._db.terminate()
        self._db = None


def _settle(queued: _Queued, outcome: Outcome[Any]) -> None:
    if isinstance(outcome, Raised):
        _raise_at(queued, outcome.error)
    elif not queued.result.done():  # else its caller was cancelled
        queued.result.set_result(outcome.value)


def _raise_at(queued: _Queued, error: BaseException, cause: BaseException | None = None) -> None:
    if not queued.result.done():
        if cause is not None and cause is not error:
            error.__cause__ = cause
        queued.result.set_exception(error)
